// SPDX-License-Identifier: Apache-2.0
/// safetensors files: the dump format that C++ and Python users both have.
///
/// Eight bytes of length, a JSON header of that length, then the tensors' bytes with neither holes nor overlaps.
///
///     auto const file = tightkv::read_file("cache.safetensors");
///     auto const cache = tightkv::safetensors::parse(file.bytes());
///     auto const keys = cache.at("keys").as<tightkv::half>();
///     tightkv::safetensors::write("copy.safetensors", cache);
///
/// Needs nlohmann/json, so it is not part of the umbrella header.
#pragma once

#include <tightkv/interop/file.hpp>                // IWYU pragma: export
#include <tightkv/interop/safetensors_reader.hpp>  // IWYU pragma: export
#include <tightkv/interop/safetensors_tensor.hpp>  // IWYU pragma: export
#include <tightkv/interop/safetensors_writer.hpp>  // IWYU pragma: export

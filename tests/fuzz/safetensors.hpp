// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a safetensors file: tensors lie in the file, and what was read is written and read again the same.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fuzz/support.hpp>
#include <tightkv/interop/safetensors.hpp>

namespace fuzz {

struct safetensors {
  static constexpr char const* name = "safetensors";

  static std::vector<std::string> seeds() {
    using namespace std::string_literals;
    auto const file = [](std::string const& header, std::string const& data) {
      std::string bytes(8, '\0');
      for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
      return bytes + header + data;
    };
    return {
        file("{}", ""),
        file(R"({"__metadata__":{"format":"pt","\u00e8\n":"\ud83d\ude00"}}      )", ""),
        file(R"({"keys":{"dtype":"F16","shape":[1,2,2],"data_offsets":[0,8]}})", std::string(8, 'k')),
        file(R"({"__metadata__":{"a":"b"},"kept":{"dtype":"I32","shape":[3],"data_offsets":[8,20]},)"
             R"("none":{"dtype":"F32","shape":[2,0,4],"data_offsets":[0,0]},)"
             R"("scores":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})",
             std::string(20, 's')),
        file(R"({"layers.0.keys":{"dtype":"BF16","shape":[2,3,4],"data_offsets":[0,48]},)"
             R"("layers.0.values":{"dtype":"BF16","shape":[2,3,4],"data_offsets":[48,96]},)"
             R"("scalar":{"dtype":"F64","shape":[],"data_offsets":[96,104]},)"
             R"("mask":{"dtype":"BOOL","shape":[5],"data_offsets":[104,109]}}  )",
             std::string(109, '\x3f')),
    };
  }

  static void run(std::span<std::byte const> input) {
    // Once as it is; and once with the length put right, or few inputs would get as far as the JSON.
    auto const text = std::string_view(reinterpret_cast<char const*>(input.data()), input.size());
    if (auto const close = text.rfind('}'); close != text.npos && close >= 8) {
      std::vector<std::byte> repaired(input.begin(), input.end());
      std::uint64_t const length = close + 1 - 8;
      std::memcpy(repaired.data(), &length, sizeof length);
      try {
        read(repaired);
      } catch (tightkv::bad_argument const&) {}
    }
    read(input);
  }

 private:
  static void read(std::span<std::byte const> input) {
    auto const file = tightkv::safetensors::parse(input);
    for (auto const& t : file.tensors) {
      require(inside(t.bytes, input), "a tensor lies outside the file");
      require(file.find(t.name) == &t, "a tensor is not found by its name");
      touch(t.bytes);
      as<float>(t);
      as<tightkv::half>(t);
      as<std::int64_t>(t);
    }
    auto const prelude = tightkv::safetensors::detail::prelude_of(file);
    auto written = prelude.bytes;
    for (auto const* const t : prelude.order)
      written.append(reinterpret_cast<char const*>(t->bytes.data()), t->bytes.size());
    auto const again = tightkv::safetensors::parse(std::as_bytes(std::span(written)));
    require(again.metadata == file.metadata, "metadata changes in a round trip");
    require(std::ranges::equal(again.tensors, file.tensors, same), "tensors change in a round trip");
  }
  static bool same(tightkv::safetensors::tensor const& a, tightkv::safetensors::tensor const& b) {
    return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
  }
  template <class T>
  static void as(tightkv::safetensors::tensor const& t) {
    std::vector<T> storage;
    try {
      touch(std::as_bytes(t.template as<T>(storage)));
      touch(std::as_bytes(t.template as<T>()));
    } catch (tightkv::bad_argument const&) {}
  }
};

}  // namespace fuzz

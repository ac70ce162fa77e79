// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/safetensors.hpp>

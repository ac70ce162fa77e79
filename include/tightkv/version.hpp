// SPDX-License-Identifier: Apache-2.0
/// The version of tightkv; CMake reads it from here, so there is only one.
#pragma once

#define TIGHTKV_VERSION_MAJOR 0
#define TIGHTKV_VERSION_MINOR 1
#define TIGHTKV_VERSION_PATCH 0

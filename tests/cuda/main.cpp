// SPDX-License-Identifier: Apache-2.0
/// Without a GPU there is nothing to test here: the emulator has run the same tests.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <iostream>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::cout << "SKIPPED: no GPU here\n";
    return 0;
  }
  return RUN_ALL_TESTS();
}

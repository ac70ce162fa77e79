// SPDX-License-Identifier: Apache-2.0
// One target under libFuzzer, -DTIGHTKV_FUZZ_TARGET=safetensors; without clang, a program that runs the files it is
// given.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include <fuzz/counting_new.hpp>
#include <fuzz/gguf.hpp>
#include <fuzz/llama_state.hpp>
#include <fuzz/mutate.hpp>
#include <fuzz/plans.hpp>
#include <fuzz/safetensors.hpp>
#include <fuzz/views.hpp>

using target = fuzz::TIGHTKV_FUZZ_TARGET;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  fuzz::run<target>(std::as_bytes(std::span(data, size)));
  return 0;
}

#ifdef __clang__
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// libFuzzer's own changes, ours (which know about lengths), and the seeds to begin with.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  static auto const seeds = target::seeds();
  fuzz::generator random(seed);
  std::string bytes(reinterpret_cast<char const*>(data), size);
  if (size <= 1) {
    bytes = seeds[fuzz::below(random, seeds.size())];
  } else if (fuzz::below(random, 2) == 0) {
    fuzz::mutate_once(bytes, seeds, random);
  } else {
    return LLVMFuzzerMutate(data, size, most);
  }
  bytes.resize(std::min(bytes.size(), most));
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}
#else
int main(int count, char** paths) {
  for (auto const* const path : std::span(paths, static_cast<std::size_t>(count)).subspan(1)) {
    std::ifstream in(path, std::ios::binary);
    std::string const bytes{std::istreambuf_iterator<char>(in), {}};
    std::printf("%s: %zu bytes\n", path, bytes.size());
    LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
  }
}
#endif

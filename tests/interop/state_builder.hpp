// SPDX-License-Identifier: Apache-2.0
/// Makes llama.cpp sequence states in memory, and knows the numbers that are in them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <engine/gguf_builder.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/interop/gguf_types.hpp>

namespace test {

/// A row of floats as stored, and as it reads afterwards.
struct encoded_row {
  std::vector<std::byte> bytes;
  std::vector<float> numbers;
};

inline encoded_row encoded(std::span<float const> row, tensor_type type) {
  byte_writer out;
  std::vector<float> numbers;
  auto const store = [&](auto number) {
    out.number(number);
    numbers.push_back(static_cast<float>(number));
  };
  if (type == tensor_type::f32) {
    for (float const x : row) store(x);
  } else if (type == tensor_type::f16) {
    for (float const x : row) store(tightkv::half(x));
  } else if (type == tensor_type::bf16) {
    for (float const x : row) store(tightkv::bfloat16(x));
  } else {
    int const most = type == tensor_type::q8_0 ? 127 : 7;
    for (; !row.empty(); row = row.subspan(32)) {
      float largest = 0;
      for (float const x : row.first(32)) largest = std::max(largest, std::fabs(x));
      tightkv::half const d(largest / static_cast<float>(most));
      auto const scale = static_cast<float>(d);
      std::vector<int> q;
      for (float const x : row.first(32)) {
        q.push_back(scale == 0 ? 0 : std::clamp(static_cast<int>(std::lround(x / scale)), -most, most));
        numbers.push_back(scale * static_cast<float>(q.back()));
      }
      out.number(d);
      for (std::size_t i = 0; i < 16 && most == 7; ++i) {
        out.number(static_cast<std::uint8_t>((q[i] + 8) | (q[i + 16] + 8) << 4));
      }
      for (std::size_t i = 0; i < 32 && most == 127; ++i) out.number(static_cast<std::int8_t>(q[i]));
    }
  }
  return {out.bytes(), numbers};
}

/// One stream of one section: what is where can be asked for, `expected(layer, values, head, token)`.
struct stream_of_cells {
  int cells = 6;
  int layers = 2;
  int kv_heads = 2;
  int head_dim = 4;
  int value_dim = 0;  // 0: as the keys
  tensor_type keys = tensor_type::f16;
  tensor_type values = tensor_type::f16;
  bool transposed = false;
  std::vector<int> positions{};  // of the cells; empty: 0, 1, 2...
  int sequence = 0;
  int first_position = 0;
  bool rotated = false;  // as stock llama.cpp rotates
  std::uint32_t seed = 1;

  int dim(bool of_values) const { return of_values && value_dim != 0 ? value_dim : head_dim; }
  int position(int cell) const {
    return positions.empty() ? first_position + cell : positions[static_cast<std::size_t>(cell)];
  }

  /// What the model made: numbers between -1 and 1 that depend on the position, with a few long keys among them.
  std::vector<float> made(int layer, bool of_values, int head, int position_of_token) const {
    std::vector<float> row;
    auto state = seed * 2654435761U + static_cast<std::uint32_t>(((layer * 2 + of_values) * 64 + head) * 8192) +
                 static_cast<std::uint32_t>(position_of_token);
    for (int d = 0; d < dim(of_values); ++d) {
      for (int i = 0; i < 3; ++i) state = (state ^ state >> 15) * 2246822519U + 374761393U;
      row.push_back(static_cast<float>(state >> 8) / 8388608.0F - 1.0F);
    }
    return row;
  }

  /// The same, as it lies in the state: rotated, and read back from its type.
  encoded_row stored(int layer, bool of_values, int head, int position_of_token) const {
    auto row = made(layer, of_values, head, position_of_token);
    auto const type = of_values ? values : keys;
    int const n = dim(of_values);
    bool const quantised = type == tensor_type::q8_0 || type == tensor_type::q4_0;
    if (rotated && quantised && n % 64 == 0) {
      int block = 64;
      while (!of_values && n % (2 * block) == 0) block *= 2;
      row = hadamard(row, block);
    }
    return encoded(row, type);
  }

  /// By the definition: entry (i, j) of the matrix is (-1)^popcount(i & j) / sqrt(n).
  static std::vector<float> hadamard(std::vector<float> const& x, int block) {
    std::vector<float> y;
    for (int i = 0; i < static_cast<int>(x.size()); ++i) {
      double sum = 0;
      int const first = i / block * block;
      for (int j = 0; j < block; ++j) {
        auto const sign = std::popcount(static_cast<unsigned>((i - first) & j)) % 2 == 0 ? 1.0 : -1.0;
        sum += sign * static_cast<double>(x[static_cast<std::size_t>(first + j)]);
      }
      y.push_back(static_cast<float>(sum / std::sqrt(block)));
    }
    return y;
  }

  void write(byte_writer& out) const {
    out.number(static_cast<std::uint32_t>(cells));
    if (cells == 0) return;
    for (int c = 0; c < cells; ++c) out.number(position(c)).number(std::uint32_t{1}).number(sequence);
    out.number(static_cast<std::uint32_t>(transposed)).number(static_cast<std::uint32_t>(layers));
    for (int l = 0; l < layers; ++l) write_rows(out, l, false);
    for (int l = 0; l < layers; ++l) transposed ? write_columns(out, l) : write_rows(out, l, true);
  }

 private:
  void write_rows(byte_writer& out, int layer, bool of_values) const {
    byte_writer rows;
    for (int c = 0; c < cells; ++c) {
      for (int h = 0; h < kv_heads; ++h) rows.raw(stored(layer, of_values, h, position(c)).bytes);
    }
    out.number(of_values ? values : keys);
    out.number(std::uint64_t{rows.bytes().size() / static_cast<std::size_t>(cells)}).raw(rows.bytes());
  }
  void write_columns(byte_writer& out, int layer) const {
    auto const size = tightkv::gguf::block_of(values).bytes;
    out.number(values).number(std::uint32_t{size}).number(static_cast<std::uint32_t>(kv_heads * dim(true)));
    for (int h = 0; h < kv_heads; ++h) {
      for (int d = 0; d < dim(true); ++d) {
        for (int c = 0; c < cells; ++c) {
          auto const row = stored(layer, true, h, position(c)).bytes;
          out.raw(std::span(row).subspan(static_cast<std::size_t>(d) * size, size));
        }
      }
    }
  }
};

/// A whole state, in either form.
struct state_builder {
  std::vector<std::vector<stream_of_cells>> sections{{stream_of_cells{}}};
  std::uint32_t version = 3;
  std::vector<std::int32_t> tokens{};

  std::vector<std::byte> file() const {
    byte_writer out;
    out.number(0x67677371U).number(version).number(static_cast<std::uint32_t>(tokens.size()));
    for (auto const t : tokens) out.number(t);
    return with_sections(out);
  }
  std::vector<std::byte> buffer() const {
    byte_writer out;
    out.number(0xaf143cd8U).number(0);
    return with_sections(out);
  }

 private:
  std::vector<std::byte> with_sections(byte_writer& out) const {
    for (auto const& streams : sections) {
      out.number(static_cast<std::uint32_t>(streams.size()));
      for (auto const& s : streams) s.write(out);
    }
    return out.bytes();
  }
};

}  // namespace test

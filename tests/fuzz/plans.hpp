// SPDX-License-Identifier: Apache-2.0
/// Any plan on any cache: refused with the cache untouched, or each byte is what copying row by row would make of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <fuzz/mutate.hpp>
#include <fuzz/planes.hpp>
#include <fuzz/support.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/gather.hpp>

namespace fuzz {

struct plans {
  static constexpr char const* name = "plans";

  static std::vector<std::string> seeds() { return random_seeds(256, 160); }

  static void run(std::span<std::byte const> input) {
    numbers in(input);
    with_plane(in, true, [&](auto const& rows, cache& c) {
      bool valid = true;
      auto const plan = any_plan(in, rows, valid);
      apply(plan, valid, rows, c);
    });
  }

 private:
  // Ascending tokens for the rows' heads, now and then with a mistake in it; `valid` says whether there is one.
  template <class P>
  static tightkv::plan any_plan(numbers& in, P const& rows, bool& valid) {
    int const heads = in.one_in(24) ? in.in(0, 4) : rows.heads();
    std::vector<int> before, after;
    std::vector<std::vector<int>> kept(static_cast<std::size_t>(heads));
    for (int h = 0; h < heads; ++h) {
      int const tokens = h < rows.heads() ? rows.tokens(h) : in.in(0, 3);
      auto& list = kept[static_cast<std::size_t>(h)];
      for (int t = 0, often = in.in(1, 4); t < tokens; ++t) {
        if (in.in(1, 4) <= often) list.push_back(t);
      }
      if (!list.empty() && in.one_in(24))
        list[static_cast<std::size_t>(in.in(0, static_cast<int>(list.size()) - 1))] = in.or_wrong(in.in(0, tokens));
      if (in.one_in(48)) list.push_back(in.or_wrong(tokens));
      before.push_back(in.one_in(48) ? in.or_wrong(tokens) : tokens);
      after.push_back(static_cast<int>(list.size()));

      bool const ascends = std::adjacent_find(list.begin(), list.end(), std::greater_equal<>()) == list.end();
      bool const known = list.empty() || (list.front() >= 0 && list.back() < tokens);
      valid = valid && h < rows.heads() && before.back() == tokens && ascends && known;
    }
    valid = valid && heads == rows.heads();
    tightkv::plan p(before, after);
    for (int h = 0; h < heads; ++h) std::ranges::copy(kept[static_cast<std::size_t>(h)], p.kept(h).begin());
    return p;
  }

  template <class P>
  static void apply(tightkv::plan const& plan, bool valid, P const& rows, cache& c) {
    auto const before = c.bytes;
    auto expected = before;
    // The same lengths in a dense cache of two bytes a row, to be compacted in the same call and by the same plan.
    std::vector<tightkv::half> numbers(static_cast<std::size_t>(rows.heads() * tightkv::longest(rows)));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i].bits = static_cast<std::uint16_t>(i);
    std::vector<int> lengths;
    for (int h = 0; h < rows.heads(); ++h) lengths.push_back(rows.tokens(h));
    auto const whole =
        tightkv::hnd(numbers.data(), {.heads = rows.heads(), .tokens = tightkv::longest(rows), .head_dim = 1});
    auto const positions = whole.with_lengths(lengths.data());

    constexpr auto size = sizeof(typename P::value_type);
    std::vector<std::byte> gathered;
    if (valid) {
      for (int h = 0; h < plan.heads(); ++h) {
        for (int j = 0; j < plan.after(h); ++j) {
          for (int d = 0; d < rows.head_dim(); ++d) {
            auto const* const from = before.data() + c.offset(h, plan.kept(h)[static_cast<std::size_t>(j)], d);
            std::copy(from, from + size, expected.begin() + c.offset(h, j, d));
            gathered.insert(gathered.end(), from, from + size);
          }
        }
      }
    }

    bool refused = false;
    try {
      gather(plan, rows, gathered, valid);
      require(c.bytes == before, "gather changes the cache");
      tightkv::compact(tightkv::cpu{}, plan, rows, positions);
    } catch (tightkv::bad_argument const&) {
      refused = true;
    }
    require(refused == !valid, valid ? "a valid plan is refused" : "an invalid plan is carried out");
    require(c.bytes == expected, "compact does not do what copying does");
    for (int h = 0; h < rows.heads() && valid; ++h) {
      for (int j = 0; j < plan.after(h); ++j) {
        auto const original = h * tightkv::longest(rows) + plan.kept(h)[static_cast<std::size_t>(j)];
        require(positions.head(h)[j][0].bits == original, "the second plane is not compacted like the first");
      }
    }
  }

  template <class P>
  static void gather(tightkv::plan const& plan, P const& rows, std::vector<std::byte> const& expected, bool valid) {
    using T = typename P::value_type;
    std::vector<int> starts{0};
    for (int h = 0; h < plan.heads(); ++h) starts.push_back(starts.back() + plan.after(h));
    std::vector<T> out(static_cast<std::size_t>(starts.back() * rows.head_dim()));
    tightkv::gather(tightkv::cpu{}, plan, rows,
                    tightkv::packed_heads(out.data(), starts.data(), plan.heads(), rows.head_dim()));
    if (valid)
      require(std::ranges::equal(std::as_bytes(std::span(out)), expected), "gather does not do what copying does");
  }
};

}  // namespace fuzz

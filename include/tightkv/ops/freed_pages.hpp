// SPDX-License-Identifier: Apache-2.0
/// `freed_pages(plan, page_size)`: which entries of a block table hold no row once a plan has been carried out.
#pragma once

#include <algorithm>

#include <tightkv/core/error.hpp>
#include <tightkv/core/plan.hpp>
#include <tightkv/ops/token_range.hpp>

namespace tightkv {

/// Entries [begin, end) of the block table that heads [first, last) share: pages an engine can give back. A page is
/// free only when no head has a row in it, which is why equal counts per head are the default.
///
///     auto const free = tightkv::freed_pages(plan, {.page_size = 16, .heads = {0, plan.heads()}});
struct shared_table {
  int page_size = 1;
  token_range heads{};
};

inline token_range freed_pages(plan_shape const& p, shared_table const& table) {
  detail::expects(table.page_size >= 1, "freed_pages", "page_size must be at least 1", "page_size", table.page_size);
  detail::expects(0 <= table.heads.begin && table.heads.begin <= table.heads.end && table.heads.end <= p.heads(),
                  "freed_pages", "the heads must be the plan's", "begin", table.heads.begin, "end", table.heads.end);
  int before = 0;
  int after = 0;
  for (int h = table.heads.begin; h < table.heads.end; ++h) {
    before = std::max(before, p.before(h));
    after = std::max(after, p.after(h));
  }
  auto const pages = [&](int tokens) { return tokens == 0 ? 0 : (tokens - 1) / table.page_size + 1; };
  return {pages(after), pages(before)};
}

}  // namespace tightkv

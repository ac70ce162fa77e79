// SPDX-License-Identifier: Apache-2.0
/// A plan says which tokens each head keeps. It is plain data: print it, compare it, broadcast it, or apply it
/// yourself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory_resource>
#include <ostream>
#include <span>
#include <vector>

#include <tightkv/core/error.hpp>
#include <tightkv/core/executor.hpp>
#include <tightkv/core/runs.hpp>

namespace tightkv {

/// What the host knows of a plan wherever its kept tokens are: the lengths of each head before and after.
class plan_shape {
 public:
  plan_shape() = default;
  plan_shape(std::span<int const> before, std::span<int const> after, std::pmr::memory_resource* memory)
      : before_(before.begin(), before.end(), memory),
        after_(after.begin(), after.end(), memory),
        offsets_(after.size() + 1, 0, memory) {
    detail::expects(before.size() == after.size(), "plan", "needs as many lengths after as before", "before",
                    before.size(), "after", after.size());
    for (std::size_t h = 0; h < after.size(); ++h) {
      detail::expects(after[h] >= 0, "plan", "a length must not be negative", "head", h, "after", after[h]);
      offsets_[h + 1] = offsets_[h] + after[h];
    }
  }

  int heads() const noexcept { return static_cast<int>(before_.size()); }
  int before(int head) const noexcept { return before_[static_cast<std::size_t>(head)]; }
  int after(int head) const noexcept { return after_[static_cast<std::size_t>(head)]; }
  /// The length of each head once the plan has been carried out.
  std::span<int const> lengths() const noexcept { return after_; }
  std::span<int const> lengths_before() const noexcept { return before_; }
  /// Where each head's list begins among the kept tokens of all heads; one entry more says where the last one ends.
  std::span<std::ptrdiff_t const> offsets() const noexcept { return offsets_; }
  std::ptrdiff_t kept_in_all() const noexcept { return offsets_.empty() ? 0 : offsets_.back(); }

  /// False when every token of every head stays.
  bool evicts() const noexcept { return before_ != after_; }

  friend bool operator==(plan_shape const&, plan_shape const&) = default;

 private:
  std::pmr::vector<int> before_;
  std::pmr::vector<int> after_;
  std::pmr::vector<std::ptrdiff_t> offsets_;
};

/// A plan whose kept tokens are in some memory: `plan` on the host, `basic_plan<device_memory>` in `cuda/plan.cuh`.
template <class Memory>
class basic_plan;

/// Kept tokens per head, ascending, and the lengths before and after. Heads may keep different numbers of tokens.
///
///     for (int token : plan.kept(head)) ...
///
/// Selectors make plans; `compact` and `gather` carry them out. Because kept tokens ascend, row j of a head always
/// comes from a row at or after j, so rows can be moved in place from first to last.
template <>
class basic_plan<host_memory> : public plan_shape {
 public:
  basic_plan() = default;

  /// Room for `after[h]` kept tokens of head h, all to be filled in through `kept(h)`.
  basic_plan(std::span<int const> before, std::span<int const> after,
             std::pmr::memory_resource* memory = std::pmr::get_default_resource())
      : plan_shape(before, after, memory), kept_(static_cast<std::size_t>(kept_in_all()), memory) {}

  /// The plan that keeps everything.
  static basic_plan keep_all(std::span<int const> lengths,
                             std::pmr::memory_resource* memory = std::pmr::get_default_resource()) {
    basic_plan p(lengths, lengths, memory);
    for (int h = 0; h < p.heads(); ++h) detail::number_run(p.kept(h), 0);
    return p;
  }

  /// A plan written out by hand: `before[h]` tokens, of which `kept[h]` stay.
  static basic_plan of(std::initializer_list<int> before, std::initializer_list<std::initializer_list<int>> kept) {
    detail::expects(before.size() == kept.size(), "plan", "needs one list of kept tokens per head", "heads",
                    before.size(), "lists", kept.size());
    std::vector<int> after;
    for (auto const& k : kept) after.push_back(static_cast<int>(k.size()));
    basic_plan p({before.begin(), before.size()}, after);
    auto out = p.kept_.begin();
    for (auto const& k : kept) out = std::copy(k.begin(), k.end(), out);
    return p;
  }

  std::span<int const> kept(int head) const noexcept {
    return std::span<int const>(kept_).subspan(offset(head), static_cast<std::size_t>(after(head)));
  }
  std::span<int> kept(int head) noexcept {
    return std::span<int>(kept_).subspan(offset(head), static_cast<std::size_t>(after(head)));
  }

  /// How many of the judged scores were NaN: rows that hold a value which is not finite. They rank last.
  std::ptrdiff_t nan_scores = 0;

  friend bool operator==(basic_plan const& a, basic_plan const& b) {
    return static_cast<plan_shape const&>(a) == b && a.kept_ == b.kept_;
  }

  friend std::ostream& operator<<(std::ostream& out, basic_plan const& p) {
    for (int h = 0; h < p.heads(); ++h) {
      out << "head " << h << ": " << p.before(h) << " -> " << p.after(h) << " {";
      char const* separator = "";
      for (int const token : p.kept(h)) {
        out << separator << token;
        separator = ", ";
      }
      out << "}\n";
    }
    return out;
  }

 private:
  std::size_t offset(int head) const noexcept {
    return static_cast<std::size_t>(offsets()[static_cast<std::size_t>(head)]);
  }

  std::pmr::vector<int> kept_;
};

using plan = basic_plan<host_memory>;

/// Room for a plan where an executor's memory is, all of it to be filled in by a selector.
template <class F>
plan make_plan(basic_plain_cpu<F> const& ex, std::span<int const> before, std::span<int const> after) {
  return {before, after, ex.resource()};
}

}  // namespace tightkv

// SPDX-License-Identifier: Apache-2.0
/// OpenMP's threads, where a program is compiled with OpenMP (`-fopenmp`). Elsewhere this header is empty.
#pragma once

#if defined(_OPENMP)

#include <exception>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// Lends OpenMP's threads to an executor.
///
///     tightkv::basic_cpu const ex{tightkv::open_mp{4}};
///
/// If calls throw, those that have not begun are left out, and one of the exceptions reaches the caller. Inside a
/// parallel region of the caller's own it is serial, as OpenMP does not nest unless told to; threads that OpenMP did
/// not start have a team each.
class open_mp {
 public:
  /// Throws `bad_argument` unless 1 <= threads <= 1024.
  explicit open_mp(int threads) : threads_(threads) {
    detail::expects(1 <= threads && threads <= 1024, "open_mp", "threads must be in [1, 1024]", "threads", threads);
  }

  template <class F>
  void operator()(int n, F&& f) const {
    std::exception_ptr failure;
    bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(threads_) if (n > 1)
    for (int i = 0; i < n; ++i) {
      bool skip = false;
#pragma omp atomic read
      skip = failed;
      if (skip) continue;
      try {
        f(i);
      } catch (...) {
#pragma omp atomic write
        failed = true;
#pragma omp critical(tightkv_open_mp)
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
  }

 private:
  int threads_;
};

}  // namespace tightkv

#endif

# SPDX-License-Identifier: Apache-2.0
# How we build our own tests, examples and benchmarks. Included only when tightkv is the top-level project: directory
# options reach every target compiled here and none that is exported.
set(TIGHTKV_SANITIZE "" CACHE STRING "Sanitizers for our own targets, e.g. address,undefined")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON) # for clang-tidy and editors

set(CMAKE_COMPILE_WARNING_AS_ERROR ON) # a newer compiler's opinion: cmake --compile-no-warning-as-error
set(TIGHTKV_WARNINGS "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wshadow>")
add_compile_options("${TIGHTKV_WARNINGS}")
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow>")
# The compiler may use 500 MB before it looks for garbage, of which there is little: 6 % of the time.
add_compile_options("$<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=500000>")
if(TIGHTKV_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${TIGHTKV_SANITIZE};-fno-sanitize-recover=all>")
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>")
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=${TIGHTKV_SANITIZE})
endif()

find_program(TIGHTKV_CCACHE ccache)
if(TIGHTKV_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this sloppiness ccache will not look at files compiled with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${TIGHTKV_CCACHE})
endif()

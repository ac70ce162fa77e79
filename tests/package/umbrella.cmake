# SPDX-License-Identifier: Apache-2.0
# cmake -D COMPILER= -D INCLUDE= -P umbrella.cmake
#
# <tightkv/tightkv.hpp> reaches every header that needs neither CUDA nor a third-party library, and nothing else.
# interop/ stays out of it: those headers are for the few who read such files.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${COMPILER} -std=c++20 -M -I ${INCLUDE} ${INCLUDE}/tightkv/tightkv.hpp
                OUTPUT_VARIABLE reached COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE "[\\\n ]+" ";" reached "${reached}")

file(GLOB_RECURSE headers RELATIVE ${INCLUDE} ${INCLUDE}/tightkv/*.hpp)
list(FILTER headers EXCLUDE REGEX "^tightkv/(interop|mergers|cuda)/|^tightkv/(tightkv|eigen|cpu/eigen_attention)\\.hpp$")
set(missing "")
foreach(header IN LISTS headers)
  if(NOT "${INCLUDE}/${header}" IN_LIST reached)
    string(APPEND missing "#include <${header}>  // IWYU pragma: export\n")
  endif()
endforeach()
if(missing)
  message("${missing}")
  message(FATAL_ERROR "include/tightkv/tightkv.hpp lacks the lines above")
endif()

list(FILTER reached INCLUDE REGEX "/Eigen/|/nlohmann/|/cuda_runtime|\\.cuh$")
if(reached)
  message(FATAL_ERROR "<tightkv/tightkv.hpp> must not need these:\n${reached}")
endif()

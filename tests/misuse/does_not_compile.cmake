# SPDX-License-Identifier: Apache-2.0
# cmake -D COMPILER= -D INCLUDE= -D FILE= -D WORDS= -P does_not_compile.cmake
cmake_minimum_required(VERSION 3.25)
set(compile ${COMPILER} -std=c++20 -fsyntax-only -I ${INCLUDE} ${FILE})

execute_process(COMMAND ${compile} -D TIGHTKV_CORRECT RESULT_VARIABLE status ERROR_VARIABLE said)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "with TIGHTKV_CORRECT defined this should compile, but the compiler said:\n${said}")
endif()

execute_process(COMMAND ${compile} RESULT_VARIABLE status ERROR_VARIABLE said)
if(status EQUAL 0)
  message(FATAL_ERROR "this compiled, and should not have")
endif()
foreach(words IN LISTS WORDS)
  string(FIND "${said}" "${words}" found)
  if(found EQUAL -1)
    message(FATAL_ERROR "the compiler never said \"${words}\", it said:\n${said}")
  endif()
endforeach()

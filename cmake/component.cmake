# SPDX-License-Identifier: Apache-2.0
include(GNUInstallDirs)
# Each header compiles alone: the target all_verify_interface_header_sets, which .ci/run builds. Two minutes of a
# compiler, because nothing can be shared, so that tests/run.sh leaves it out.
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})

# tightkv_component(name [NEEDS target FROM package] HEADERS pattern... [EXCEPT pattern...] [INCLUDED pattern...])
#
# Defines tightkv::name over the headers under include/tightkv that match. A component without headers does not exist.
# A package that is missing is an error only for those who link the component.
function(tightkv_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "NEEDS;FROM" "HEADERS;EXCEPT;INCLUDED")
  set(root ${PROJECT_SOURCE_DIR}/include/tightkv)
  list(TRANSFORM arg_HEADERS PREPEND ${root}/)
  list(TRANSFORM arg_EXCEPT PREPEND ${root}/)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${arg_HEADERS})
  if(arg_EXCEPT)
    file(GLOB_RECURSE exceptions CONFIGURE_DEPENDS ${arg_EXCEPT})
    list(REMOVE_ITEM headers ${exceptions})
  endif()
  if(NOT headers)
    return()
  endif()

  set(target tightkv_${name})
  if(name STREQUAL "tightkv")
    set(target tightkv)
  endif()
  add_library(${target} INTERFACE)
  add_library(tightkv::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(${target} INTERFACE cxx_std_20)
  target_sources(${target} INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${headers})
  set(sets FILE_SET HEADERS)
  if(arg_INCLUDED) # parts of headers: installed with them, but they do not stand alone
    list(TRANSFORM arg_INCLUDED PREPEND ${root}/)
    file(GLOB_RECURSE parts CONFIGURE_DEPENDS ${arg_INCLUDED})
    target_sources(${target} INTERFACE FILE_SET parts TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${parts})
    set_target_properties(${target} PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
    list(APPEND sets FILE_SET parts)
  endif()
  if(NOT target STREQUAL "tightkv")
    target_link_libraries(${target} INTERFACE tightkv::tightkv)
  endif()
  if(arg_FROM AND NOT TARGET ${arg_NEEDS})
    find_package(${arg_FROM} QUIET) # here, because CMake looks a target's links up from where it was defined
  endif()
  target_link_libraries(${target} INTERFACE ${arg_NEEDS})
  if(NOT headers MATCHES "[.]hpp")
    set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS FALSE) # of nvcc's, tests/cuda does it
  endif()
  if(TIGHTKV_INSTALL)
    install(TARGETS ${target} EXPORT ${target} ${sets})
    install(EXPORT ${target} NAMESPACE tightkv:: DESTINATION ${CMAKE_INSTALL_DATADIR}/cmake/tightkv
            FILE tightkv-${name}-targets.cmake)
  endif()
endfunction()

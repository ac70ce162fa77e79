# SPDX-License-Identifier: Apache-2.0
# find_package(tightkv 0.1 [COMPONENTS safetensors eigen cuda])
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_DATADIR}/cmake/tightkv)
configure_package_config_file(cmake/tightkv-config.cmake.in ${PROJECT_BINARY_DIR}/tightkv-config.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tightkv-config-version.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/tightkv-config.cmake ${PROJECT_BINARY_DIR}/tightkv-config-version.cmake
        DESTINATION ${package})

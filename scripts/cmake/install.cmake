# cmake --install BUILD --prefix P: program, libraries, Lua module, header, and how others find them.

set(CMAKE_INSTALL_LIBDIR lib CACHE STRING "Where libraries go, below the prefix")
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moonfleet)

if(TARGET moonfleet_program)
  install(TARGETS moonfleet_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS moonfleet moonfleet_static EXPORT moonfleet-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS moonfleet_module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lua/5.4)
install(FILES runtime/include/moonfleet.h DESTINATION include)

set_target_properties(moonfleet_static PROPERTIES EXPORT_NAME static)
install(EXPORT moonfleet-targets NAMESPACE moonfleet:: DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moonfleet-config-version.cmake
  COMPATIBILITY SameMinorVersion)
configure_file(scripts/cmake/moonfleet-config.cmake.in moonfleet-config.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/moonfleet-config.cmake
  ${PROJECT_BINARY_DIR}/moonfleet-config-version.cmake DESTINATION ${package_dir})

configure_file(scripts/cmake/moonfleet.pc.in moonfleet.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/moonfleet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

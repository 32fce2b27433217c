# What the lists of CMakeLists.txt mean: one set of objects, compiled once, makes the static and the
# shared library and the Lua module; the program and the C tests stand on the static one.

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "Moonfleet runs on Linux only, so far (this is ${CMAKE_SYSTEM_NAME})")
endif()
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_DEBUG "-O2 -g")
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# ---- Lua: headers for all; the library itself only for the program and the C tests ------------------

find_package(PkgConfig REQUIRED)
pkg_search_module(LUA REQUIRED lua5.4 lua-5.4 lua54)
find_library(MFI_LUA_STATIC NAMES liblua5.4.a liblua-5.4.a HINTS ${LUA_LIBRARY_DIRS}
  DOC "Static Lua of the program; when it is not there the shared one serves")
mark_as_advanced(MFI_LUA_STATIC)
add_library(moonfleet_lua INTERFACE)
target_include_directories(moonfleet_lua SYSTEM INTERFACE ${LUA_INCLUDE_DIRS})
if(MFI_LUA_STATIC) # whole, and exported by -rdynamic: C modules find every lua_* in the program
  set(lua ${PROJECT_BINARY_DIR}/lua.a)
  # A copy whose code begins at cache lines: where among them the interpreter's loop lies, which else
  # changes with each build of ours, makes 5 % of its speed (cpu_loop.lua).
  execute_process(RESULT_VARIABLE failed
    COMMAND ${CMAKE_OBJCOPY} --set-section-alignment .text=64 ${MFI_LUA_STATIC} ${lua})
  if(failed)
    set(lua ${MFI_LUA_STATIC})
  endif()
  target_link_libraries(moonfleet_lua INTERFACE
    -Wl,--whole-archive ${lua} -Wl,--no-whole-archive)
else()
  target_link_libraries(moonfleet_lua INTERFACE ${LUA_LINK_LIBRARIES})
endif()
target_link_libraries(moonfleet_lua INTERFACE m ${CMAKE_DL_LIBS})
target_link_options(moonfleet_lua INTERFACE -rdynamic)

# ---- Flags of everything that is compiled here --------------------------------------------------------

add_library(moonfleet_flags INTERFACE)
target_compile_definitions(moonfleet_flags INTERFACE _GNU_SOURCE
  $<$<BOOL:${MFI_ASSERT}>:MFI_ASSERT=1>
  $<$<BOOL:${MFI_TINY}>:MFI_TINY=1>
  $<$<BOOL:${MFI_FAULTS}>:MFI_FAULTS=1>)
target_compile_options(moonfleet_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  $<$<BOOL:${MFI_WERROR}>:-Werror>)
# All symbols are found once, by the loader: else each forked worker looks up anew whatever its
# warden has not called, and copies the page that it is entered in.
target_link_options(moonfleet_flags INTERFACE -Wl,-z,relro -Wl,-z,now)
if(MFI_SANITIZE)
  target_compile_options(moonfleet_flags INTERFACE
    -fsanitize=${MFI_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(moonfleet_flags INTERFACE -fsanitize=${MFI_SANITIZE})
endif()
if(MFI_SANITIZE STREQUAL thread) # no generator expression: address,undefined has a comma
  target_compile_definitions(moonfleet_flags INTERFACE MFI_TSAN=1)
endif()
if(MFI_FUZZ)
  target_compile_options(moonfleet_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_include_directories(moonfleet_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/runtime ${PROJECT_SOURCE_DIR}/runtime/include)
target_include_directories(moonfleet_flags SYSTEM INTERFACE ${LUA_INCLUDE_DIRS})

# ---- The objects, and what is made of them ------------------------------------------------------------

add_library(moonfleet_objects OBJECT)
target_link_libraries(moonfleet_objects PRIVATE moonfleet_flags)

add_library(moonfleet_static STATIC $<TARGET_OBJECTS:moonfleet_objects>)
add_library(moonfleet SHARED $<TARGET_OBJECTS:moonfleet_objects>)
add_library(moonfleet_module MODULE $<TARGET_OBJECTS:moonfleet_objects>)
set_target_properties(moonfleet_static moonfleet PROPERTIES
  OUTPUT_NAME moonfleet
  ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set_target_properties(moonfleet PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
set_target_properties(moonfleet_module PROPERTIES
  PREFIX "" OUTPUT_NAME moonfleet
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/lua/5.4)
# Lua unloads C modules when a state closes; workers' threads, signal and exit handlers still need it.
target_link_options(moonfleet_module PRIVATE -Wl,-z,nodelete)
target_link_options(moonfleet PRIVATE -Wl,-z,nodelete)
foreach(library moonfleet_static moonfleet moonfleet_module)
  target_link_libraries(${library} PRIVATE $<BUILD_INTERFACE:moonfleet_flags>)
  target_link_libraries(${library} PUBLIC m Threads::Threads ${CMAKE_DL_LIBS})
  target_include_directories(${library} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/runtime/include> $<INSTALL_INTERFACE:include>)
endforeach()

# The paths of names, which may be given with or without their ending.
function(paths_of names folder ending result)
  list(TRANSFORM names REPLACE "\\${ending}$" "")
  list(TRANSFORM names PREPEND ${folder}/)
  list(TRANSFORM names APPEND ${ending})
  set(${result} ${names} PARENT_SCOPE)
endfunction()

# room(FOLDER name ...): sources of runtime/FOLDER
function(room folder)
  paths_of("${ARGN}" runtime/${folder} .c sources)
  target_sources(moonfleet_objects PRIVATE ${sources})
endfunction()

# lua_modules(name ...): files of lua/moonfleet that the library carries along
function(lua_modules)
  paths_of("${ARGN}" ${PROJECT_SOURCE_DIR}/lua/moonfleet .lua files)
  set(made ${PROJECT_BINARY_DIR}/embedded.c)
  set(script ${PROJECT_SOURCE_DIR}/scripts/cmake/embed.cmake)
  # Under another name the array would stay as it was when a file leaves the list.
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/embedded.list CONTENT "${files}" @ONLY)
  add_custom_command(OUTPUT ${made}
    COMMAND ${CMAKE_COMMAND} "-DLIST=${PROJECT_BINARY_DIR}/embedded.list" -DOUT=${made} -P ${script}
    DEPENDS ${files} ${script} ${PROJECT_BINARY_DIR}/embedded.list
    COMMENT "Embedding the Lua half" VERBATIM)
  target_sources(moonfleet_objects PRIVATE ${made})
endfunction()

# program(name ...): sources of runtime/host, the program bin/moonfleet
function(program)
  if(NOT ARGN)
    return()
  endif()
  paths_of("${ARGN}" runtime/host .c sources)
  add_executable(moonfleet_program ${sources})
  set_target_properties(moonfleet_program PROPERTIES
    OUTPUT_NAME moonfleet RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  target_link_libraries(moonfleet_program PRIVATE moonfleet_flags moonfleet_static moonfleet_lua)
endfunction()

# c_tests(name ...): tests/c/NAME.c
function(c_tests)
  set(names "")
  if(MFI_TESTS)
    set(names ${ARGN})
  endif()
  foreach(name ${names})
    add_executable(${name} tests/c/${name}.c)
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/c)
    target_compile_definitions(${name} PRIVATE MFI_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/c")
    target_link_libraries(${name} PRIVATE moonfleet_flags moonfleet_static moonfleet_lua)
  endforeach()
  list(JOIN names "\n" text)
  file(WRITE ${PROJECT_BINARY_DIR}/c_tests.list "${text}\n")
endfunction()

# fuzzers(name ...): tests/fuzz/NAME.c defines LLVMFuzzerTestOneInput. Preset fuzz makes libFuzzer
# programs of them; elsewhere each is a C test that runs over tests/fuzz/corpus/NAME.
function(fuzzers)
  foreach(name ${ARGN})
    if(MFI_FUZZ)
      add_executable(${name} tests/fuzz/${name}.c)
      target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    elseif(MFI_TESTS)
      add_executable(${name} tests/fuzz/${name}.c tests/fuzz/replay.c)
      target_compile_definitions(${name} PRIVATE
        MFI_CORPUS="${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
      file(APPEND ${PROJECT_BINARY_DIR}/c_tests.list "${name}\n")
    else()
      return()
    endif()
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(${name} PRIVATE moonfleet_flags moonfleet_static moonfleet_lua)
  endforeach()
endfunction()

# sanitized_lua(name longjmp): tests/c/NAME.c, the program stock/lua5.4; tests/c/LONGJMP.c, which is
# linked to each Lua under TSan
function(sanitized_lua name longjmp)
  if(MFI_SANITIZE STREQUAL thread)
    target_sources(moonfleet_lua INTERFACE ${PROJECT_SOURCE_DIR}/tests/c/${longjmp}.c)
    target_link_options(moonfleet_lua INTERFACE -Wl,--wrap=_longjmp,--wrap=__longjmp_chk)
  endif()
  if(MFI_SANITIZE AND MFI_TESTS)
    add_executable(${name} tests/c/${name}.c)
    set_target_properties(${name} PROPERTIES
      OUTPUT_NAME lua5.4 RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/stock)
    target_link_libraries(${name} PRIVATE moonfleet_flags moonfleet_lua)
  endif()
endfunction()

# specs(name ...): tests/NAME_spec.lua
function(specs)
  list(JOIN ARGN "\n" text)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/specs.list CONTENT "${text}\n" @ONLY)
endfunction()

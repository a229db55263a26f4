# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Settings shared by the whole tree and by the runtime when it is built alone.
include_guard(GLOBAL)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(MOHD_SANITIZE "" CACHE STRING "Sanitizers to build with, for instance `address,undefined` or `thread`")

add_compile_options(-Wall -Wextra -Wno-unused-parameter -Werror=return-type
                    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(MOHD_SANITIZE)
  if(MOHD_SANITIZE STREQUAL "ON")
    set(MOHD_SANITIZE "address,undefined")
  endif()
  add_compile_options(-fsanitize=${MOHD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${MOHD_SANITIZE})
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Precompiled headers need the relaxed comparison.
  set(MOHD_CCACHE ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${MOHD_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MOHD_CCACHE})
endif()

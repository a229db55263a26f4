# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Helpers for code that links LLVM and MLIR. Debian ships them as two shared libraries; nothing static may be mixed in.
include_guard(GLOBAL)

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

# Parsing MLIR's headers takes most of a file's time: one precompiled header for all of the compiler takes it once. Only with
# Clang: GCC's weighs 900 MB and takes longer to write than it saves.
set(MOHD_PCH_DEFAULT OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(MOHD_PCH_DEFAULT ON)
endif()
option(MOHD_PCH "Precompile MLIR's headers; OFF shows includes that a file lacks" ${MOHD_PCH_DEFAULT})
if(MOHD_PCH)
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/MohdPch.cpp" CONTENT "// Only carries the precompiled header.\n")
  add_library(MohdPch OBJECT "${PROJECT_BINARY_DIR}/MohdPch.cpp")
  target_precompile_headers(MohdPch PRIVATE "${CMAKE_CURRENT_LIST_DIR}/MohdPch.h")
  target_include_directories(MohdPch SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
  # Without the time stamp in it ccache can keep it.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")
endif()

# Adds a static library of the compiler: mohd_add_library(NAME sources... [PLAIN] [DEPENDS targets...] [LINK libraries...])
# PLAIN: the library uses no MLIR.
function(mohd_add_library name)
  cmake_parse_arguments(ARG "PLAIN" "" "DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
  if(MOHD_PCH AND NOT ARG_PLAIN)
    target_precompile_headers(${name} REUSE_FROM MohdPch)
  endif()
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# Adds a tool of the compiler: mohd_add_tool(NAME sources... [LINK libraries...])
function(mohd_add_tool name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} MLIR LLVM)
endfunction()

# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Helpers for code that links LLVM and MLIR. Debian ships them as two shared libraries; nothing static may be mixed in.
include_guard(GLOBAL)

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

# Adds a static library of the compiler: mohd_add_library(NAME sources... [DEPENDS targets...] [LINK libraries...])
function(mohd_add_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
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

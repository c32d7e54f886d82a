# The helpers that every folder uses: one target a module, our warnings on our code only.

add_library(basalt_flags INTERFACE)
target_include_directories(basalt_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(basalt_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  # GCC 12 warns falsely on std::string + (GCC bug 105651); clang does not know the warning.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # clang objects to what GCC 12 libstdc++ does inside std::stable_sort.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>
  # Decisions that need doubles must give the same bits on every machine: no fused multiply-add.
  -ffp-contract=off)
if(BASALT_WERROR)
  target_compile_options(basalt_flags INTERFACE -Werror)
endif()
if(BASALT_SANITIZE)
  target_compile_options(basalt_flags INTERFACE
    # Light optimization and line tables: half the time to build of -O2 -g, which is most of the gate.
    -fsanitize=${BASALT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1
    # GCC 12 warns falsely inside <regex> and <functional> when it instruments (GCC bug 105562).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(basalt_flags INTERFACE -fsanitize=${BASALT_SANITIZE})
endif()
if(BASALT_FUZZ)
  target_compile_options(basalt_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined)
  target_link_options(basalt_flags INTERFACE -fsanitize=address,undefined)
endif()

# basalt_library(NAME SOURCES a.cc ... LINK targets ... PRIVATE_LINK targets ...)
function(basalt_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC basalt_flags ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE basalt_flags ${ARG_LINK})
  endif()
endfunction()

# What the sanitizer builds need: the tests of one label, and no more.
add_custom_target(unit_tests)
add_custom_target(threads_tests)

# basalt_test(NAME SOURCES a_test.cc ... LINK targets ... [LABELS unit])
# Every test finds shared data by BASALT_SHARED and its own fixtures by BASALT_SOURCE_DIR.
function(basalt_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE basalt_flags ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE BASALT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  foreach(label unit threads)
    if(label IN_LIST ARG_LABELS)
      add_dependencies(${label}_tests ${name})
    endif()
  endforeach()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 1200)
  if(BASALT_SANITIZE MATCHES "address")  # leaks of libraries that are not ours
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
                 "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/test/lsan.supp:print_suppressions=0")
  endif()
endfunction()

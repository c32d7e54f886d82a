# The command's tests: Python's unittest, one ctest a file, and the report in a browser.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(cli_dir ${CMAKE_CURRENT_LIST_DIR}/cli)
set(cli_environment BASALT_BIN=$<TARGET_FILE:basalt> PYTHONDONTWRITEBYTECODE=1)
if(DEFINED ENV{BASALT_SHARED})
  list(APPEND cli_environment BASALT_SHARED=$ENV{BASALT_SHARED})
endif()

foreach(name streams formats sim gangs bad_input scenario state trace import bench_report topo devices usage)
  add_test(NAME cli_${name} COMMAND Python3::Interpreter ${cli_dir}/${name}_test.py)
  set_tests_properties(cli_${name} PROPERTIES LABELS cli TIMEOUT 300
                       ENVIRONMENT "${cli_environment}")
endforeach()

add_test(NAME cli_platform_scenario
         COMMAND Python3::Interpreter ${cli_dir}/platform_scenario_test.py)
set_tests_properties(cli_platform_scenario PROPERTIES LABELS cli TIMEOUT 900
                     ENVIRONMENT "${cli_environment}")

add_test(NAME cli_verify COMMAND Python3::Interpreter ${cli_dir}/verify_test.py)
set_tests_properties(cli_verify PROPERTIES LABELS "cli;data" TIMEOUT 300
                     SKIP_REGULAR_EXPRESSION "skipped: no shared data"
                     ENVIRONMENT "${cli_environment}")

add_test(NAME web_reports
         COMMAND Python3::Interpreter ${cli_dir}/web_test.py ${CMAKE_BINARY_DIR}/test/web-reports)
add_test(NAME web_self COMMAND ${CMAKE_CURRENT_LIST_DIR}/web/render_test.sh --self)
set_tests_properties(web_reports web_self PROPERTIES LABELS web TIMEOUT 300 SKIP_RETURN_CODE 77
                     RUN_SERIAL TRUE ENVIRONMENT "${cli_environment}")

basalt_test(platform_file_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/unit/platform_file_test.cc
            LINK basalt_cli)

# Dashboards, alert rules and the Helm chart.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME deploy COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/deploy/deploy_test.py)
set_tests_properties(deploy PROPERTIES LABELS cli TIMEOUT 1500
                     ENVIRONMENT "BASALT_BIN=$<TARGET_FILE:basalt>;PYTHONDONTWRITEBYTECODE=1")

# Tests of devices and of the card rules in scheduler-core.
set(devices_unit ${CMAKE_CURRENT_LIST_DIR})
find_package(nlohmann_json REQUIRED)
basalt_test(devices_rules_test
  SOURCES ${devices_unit}/devices_rules_test.cc ${devices_unit}/devices_groups_test.cc
          ${devices_unit}/devices_mig_test.cc
  LINK basalt_devices)
basalt_test(devices_test
  SOURCES ${devices_unit}/devices_catalog_test.cc ${devices_unit}/devices_resources_test.cc
          ${devices_unit}/devices_assignment_test.cc ${devices_unit}/devices_registration_test.cc
          ${devices_unit}/devices_allocation_test.cc ${devices_unit}/devices_node_test.cc
          ${devices_unit}/devices_slices_test.cc
  LINK basalt_devices nlohmann_json::nlohmann_json)
basalt_test(devices_data_test SOURCES ${devices_unit}/devices_data_test.cc
            LINK basalt_devices nlohmann_json::nlohmann_json LABELS "unit;data")

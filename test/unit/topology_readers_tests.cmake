# Tests of topology: readers.
set(readers_unit ${CMAKE_CURRENT_LIST_DIR})
find_package(nlohmann_json REQUIRED)
basalt_test(topology_readers_test
  SOURCES ${readers_unit}/topology_readers_graph_test.cc
          ${readers_unit}/topology_readers_smi_test.cc
          ${readers_unit}/topology_readers_xml_test.cc
          ${readers_unit}/topology_readers_vendor_test.cc
  LINK basalt_topology_files)
basalt_test(topology_readers_data_test
  SOURCES ${readers_unit}/topology_readers_data_test.cc
  LINK basalt_topology_files nlohmann_json::nlohmann_json
  LABELS "unit;data")

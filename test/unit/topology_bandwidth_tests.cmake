# Tests of topology: bandwidth, card choice, descriptions, catalog, drawing.
set(bandwidth_unit ${CMAKE_CURRENT_LIST_DIR}/topology_bandwidth)
basalt_test(topology_bandwidth_test
  SOURCES ${bandwidth_unit}_model_test.cc ${bandwidth_unit}_choice_test.cc
          ${bandwidth_unit}_synthetic_test.cc ${bandwidth_unit}_catalog_test.cc
          ${bandwidth_unit}_draw_test.cc ${CMAKE_CURRENT_LIST_DIR}/topology_published_test.cc
  LINK basalt_topology_files)
basalt_test(topology_bandwidth_data_test SOURCES ${bandwidth_unit}_data_test.cc
            LINK basalt_topology_files LABELS "unit;data")

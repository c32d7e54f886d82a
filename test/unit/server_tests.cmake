# The server's shells: gate, gRPC, HTTP, the process.
set(server_unit ${CMAKE_CURRENT_LIST_DIR})
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
set(server_support ${CMAKE_CURRENT_LIST_DIR}/../support)

basalt_library(basalt_test_served
  SOURCES ${server_support}/served.cc
  LINK basalt_rooms basalt_policies)

basalt_test(rpc_gate_test SOURCES ${server_unit}/rpc_gate_test.cc LINK basalt_base Threads::Threads
  LABELS "unit;threads")
basalt_test(choose_test SOURCES ${server_unit}/choose_test.cc LINK basalt_test_served)
basalt_test(learn_test SOURCES ${server_unit}/learn_test.cc
  LINK basalt_test_served basalt_http nlohmann_json::nlohmann_json)
basalt_test(rpc_test
  SOURCES ${server_unit}/rpc_test.cc ${server_unit}/rpc_limits_test.cc
  LINK basalt_test_served basalt_rpc)
basalt_test(http_test
  SOURCES ${server_unit}/http_test.cc
  LINK basalt_test_served basalt_http basalt_traces PkgConfig::httplib nlohmann_json::nlohmann_json
       ZLIB::ZLIB
  LABELS "unit;data")
basalt_test(fuzz_server_test
  SOURCES ${server_unit}/fuzz_server_test.cc
  LINK basalt_http basalt_store basalt_policies basalt_traces basalt_config basalt_topology_files)
basalt_test(serve_test
  SOURCES ${server_unit}/serve_test.cc
  LINK basalt_grpc
  LABELS cli)
set_property(TEST serve_test APPEND PROPERTY ENVIRONMENT BASALT_BIN=$<TARGET_FILE:basalt>)
add_dependencies(serve_test basalt)

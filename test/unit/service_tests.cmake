# Tests of adapters/service and adapters/store.
set(service_unit ${CMAKE_CURRENT_LIST_DIR})
find_package(Threads REQUIRED)

basalt_library(basalt_test_service_support
  SOURCES ${service_unit}/../support/service_bed.cc
  LINK basalt_service basalt_test_support)

basalt_test(service_test
  SOURCES ${service_unit}/service_test.cc ${service_unit}/service_sync_test.cc
          ${service_unit}/service_books_test.cc ${service_unit}/service_commands_test.cc
          ${service_unit}/service_kube_test.cc ${service_unit}/service_churn_test.cc
          ${service_unit}/service_claims_test.cc
  LINK basalt_test_service_support)
basalt_test(store_test
  SOURCES ${service_unit}/store_test.cc
  LINK basalt_store basalt_test_service_support Threads::Threads
  LABELS "unit;threads")

set(service_sim ${service_unit}/../service_sim)
basalt_test(service_sim_test
  SOURCES ${service_sim}/service_sim_test.cc ${service_sim}/api_model.cc
          ${service_sim}/probe.cc ${service_sim}/scheduler.cc ${service_sim}/server.cc ${service_sim}/syncer.cc
          ${service_sim}/world.cc
  LINK basalt_test_service_support)
basalt_test(recording_test
  SOURCES ${service_unit}/recording_test.cc ${service_unit}/shadow_test.cc
  LINK basalt_store basalt_sim basalt_test_service_support)

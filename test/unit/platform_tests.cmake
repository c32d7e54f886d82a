# Tests of sim/platform.
set(platform_unit ${CMAKE_CURRENT_LIST_DIR})
basalt_test(platform_test
  SOURCES ${platform_unit}/platform_runtime_test.cc ${platform_unit}/platform_services_test.cc
          ${platform_unit}/platform_batch_test.cc ${platform_unit}/platform_sandbox_test.cc
          ${platform_unit}/platform_pools_test.cc ${platform_unit}/platform_laws_test.cc
  LINK basalt_platform basalt_test_sim_support)

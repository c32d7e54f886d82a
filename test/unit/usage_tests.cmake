set(usage_unit ${CMAKE_CURRENT_LIST_DIR})
basalt_test(usage_test
  SOURCES ${usage_unit}/usage_test.cc ${usage_unit}/usage_prometheus_test.cc
  LINK basalt_sim basalt_traces)
basalt_test(demand_test SOURCES ${usage_unit}/demand_test.cc LINK basalt_sim)
basalt_test(oversubscription_test SOURCES ${usage_unit}/oversubscription_test.cc LINK basalt_sim)

# Tests of scheduler-core, policies and sim. Random tests repeat BASALT_TEST_SCALE times their stated
# number (default 1, in Debug builds 0.25).
set(core_unit ${CMAKE_CURRENT_LIST_DIR})
set(core_support ${CMAKE_CURRENT_LIST_DIR}/../support)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Threads REQUIRED)

basalt_library(basalt_test_support
  SOURCES ${core_support}/cluster.cc ${core_support}/oracle.cc ${core_support}/random_world.cc
          ${core_support}/story.cc ${core_support}/gang_oracle.cc ${core_support}/gangs.cc
          ${core_support}/jobs.cc ${core_support}/node_choices.cc
  LINK basalt_policies)

basalt_library(basalt_test_sim_support
  SOURCES ${core_support}/workloads.cc
  LINK basalt_test_support basalt_sim)

basalt_test(base_test SOURCES ${core_unit}/base_test.cc LINK basalt_base)
basalt_test(state_test
  SOURCES ${core_unit}/state_test.cc ${core_unit}/transaction_test.cc
          ${core_unit}/request_test.cc
  LINK basalt_test_support)
basalt_test(index_test SOURCES ${core_unit}/index_test.cc LINK basalt_test_support)
basalt_test(differential_test SOURCES ${core_unit}/differential_test.cc LINK basalt_test_support)
basalt_test(exhaustive_test SOURCES ${core_unit}/exhaustive_test.cc LINK basalt_test_support)
basalt_test(fragmentation_test SOURCES ${core_unit}/fragmentation_test.cc LINK basalt_test_support)
basalt_test(fragmentation_data_test
  SOURCES ${core_unit}/fragmentation_data_test.cc
  LINK basalt_test_support nlohmann_json::nlohmann_json
  LABELS "unit;data")
basalt_test(engine_test
  SOURCES ${core_unit}/engine_test.cc ${core_unit}/explain_test.cc
  LINK basalt_test_support)
basalt_test(node_change_test SOURCES ${core_unit}/node_change_test.cc LINK basalt_test_support)
basalt_test(node_choice_test
  SOURCES ${core_unit}/node_choice_test.cc ${core_unit}/alternatives_test.cc
  LINK basalt_test_sim_support)
basalt_test(lease_test
  SOURCES ${core_unit}/lease_test.cc ${core_unit}/set_policy_test.cc
  LINK basalt_test_sim_support)
basalt_test(server_history_test
  SOURCES ${core_unit}/server_history_test.cc
  LINK basalt_test_sim_support)
basalt_test(slices_test
  SOURCES ${core_unit}/slices_test.cc ${core_unit}/slices_property_test.cc
  LINK basalt_test_support)
basalt_test(conformance_test SOURCES ${core_unit}/conformance_test.cc LINK basalt_test_support)
basalt_test(registry_test SOURCES ${core_unit}/registry_test.cc LINK basalt_test_support)
# Its own program: it takes in policies/fgd.cc, whose thresholds are private.
basalt_test(fgd_threshold_test SOURCES ${core_unit}/fgd_threshold_test.cc LINK basalt_policies)
basalt_test(policies_test SOURCES ${core_unit}/policies_test.cc LINK basalt_test_support)
basalt_test(journal_test
  SOURCES ${core_unit}/journal_test.cc ${core_unit}/recovery_test.cc
          ${core_unit}/gang_journal_test.cc ${core_unit}/recovery_decisions_test.cc
  LINK basalt_test_sim_support)
basalt_test(gang_test
  SOURCES ${core_unit}/gang_test.cc ${core_unit}/gang_divide_test.cc ${core_unit}/domains_test.cc
          ${core_unit}/draft_test.cc ${core_unit}/gang_regression_test.cc
  LINK basalt_test_support)
basalt_test(gang_oracle_test
  SOURCES ${core_unit}/gang_oracle_test.cc ${core_unit}/gang_property_test.cc
  LINK basalt_test_support)
basalt_test(job_scheduler_test
  SOURCES ${core_unit}/job_scheduler_test.cc ${core_unit}/job_scheduler_oracle_test.cc
  LINK basalt_test_support)
basalt_test(eviction_test
  SOURCES ${core_unit}/eviction_test.cc ${core_unit}/quotas_test.cc
          ${core_unit}/eviction_journal_test.cc
  LINK basalt_test_support)
basalt_test(slot_quota_test SOURCES ${core_unit}/slot_quota_test.cc LINK basalt_test_support)
basalt_test(eviction_oracle_test
  SOURCES ${core_unit}/eviction_oracle_test.cc
  LINK basalt_test_support)
basalt_test(gang_threads_test
  SOURCES ${core_unit}/gang_threads_test.cc
  LINK basalt_test_support Threads::Threads
  LABELS "unit;threads")
basalt_test(sim_test
  SOURCES ${core_unit}/saturation_test.cc ${core_unit}/replay_test.cc
  LINK basalt_test_sim_support)
basalt_test(sim_threads_test
  SOURCES ${core_unit}/sim_threads_test.cc
  LINK basalt_test_sim_support Threads::Threads
  LABELS "unit;threads")
basalt_test(scenario_test
  SOURCES ${core_unit}/scenario_test.cc ${core_support}/scenario.cc
  LINK basalt_test_support basalt_topology_files basalt_devices yaml-cpp)

find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(check_layers ${CMAKE_CURRENT_LIST_DIR}/../lint/check_layers.py)
add_test(NAME layers COMMAND ${Python3_EXECUTABLE} ${check_layers} ${PROJECT_SOURCE_DIR})
add_test(NAME layers_self_test COMMAND ${Python3_EXECUTABLE} ${check_layers} --self-test)
set_tests_properties(layers layers_self_test PROPERTIES LABELS lint)

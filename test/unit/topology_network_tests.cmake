# Tests of topology: NUMA and network.
set(topology_unit ${CMAKE_CURRENT_LIST_DIR})
basalt_test(topology_numa_test SOURCES ${topology_unit}/topology_numa_test.cc LINK basalt_topology)
basalt_test(topology_network_test
  SOURCES ${topology_unit}/topology_network_test.cc ${topology_unit}/topology_network_files_test.cc
  LINK basalt_topology_files)

# What uses the topology: other schedulers' card rules, gangs and wiring in the replay.
basalt_test(peer_rules_test SOURCES ${topology_unit}/peer_rules_test.cc LINK basalt_topology_files)
basalt_test(replay_gangs_test SOURCES ${topology_unit}/replay_gangs_test.cc
            LINK basalt_test_sim_support basalt_topology_files)
basalt_test(philly_data_test SOURCES ${topology_unit}/philly_data_test.cc
            LINK basalt_test_sim_support LABELS "data")

# Tests of scheduler-core/queueing: quotas, shares, reclaim and topology slots, without an engine.
set(queueing_unit ${CMAKE_CURRENT_LIST_DIR})
basalt_test(queue_test
  SOURCES ${queueing_unit}/queue_tree_test.cc ${queueing_unit}/queue_division_test.cc
          ${queueing_unit}/queue_fair_share_test.cc ${queueing_unit}/queue_reclaim_test.cc
          ${queueing_unit}/node_slots_test.cc
  LINK basalt_test_support)

find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
set(traces_unit ${CMAKE_CURRENT_LIST_DIR})
basalt_test(traces_text_test
  SOURCES ${traces_unit}/traces_text_test.cc ${traces_unit}/traces_csv_test.cc
  LINK basalt_traces ZLIB::ZLIB)
basalt_test(traces_import_test
  SOURCES ${traces_unit}/traces_openb_test.cc ${traces_unit}/traces_orders_test.cc
          ${traces_unit}/traces_import_test.cc ${traces_unit}/traces_philly_test.cc
  LINK basalt_traces)
basalt_test(traces_import_sources_test
  SOURCES ${traces_unit}/traces_import_text_test.cc ${traces_unit}/traces_import_alibaba_test.cc
          ${traces_unit}/traces_import_logs_test.cc ${traces_unit}/traces_import_kube_test.cc
          ${traces_unit}/traces_kube_cards_test.cc ${traces_unit}/traces_kube_nodes_test.cc
  LINK basalt_traces nlohmann_json::nlohmann_json)
basalt_test(traces_canonical_test
  SOURCES ${traces_unit}/traces_tables_test.cc ${traces_unit}/traces_canonical_test.cc ${traces_unit}/traces_check_test.cc
          ${traces_unit}/traces_generate_test.cc ${traces_unit}/traces_scale_test.cc
  LINK basalt_traces)
basalt_test(traces_data_test
            SOURCES ${traces_unit}/traces_data_test.cc ${traces_unit}/traces_import_data_test.cc
            LINK basalt_traces
            LABELS "unit;data")
basalt_test(fuzz_corpus_test SOURCES ${traces_unit}/fuzz_corpus_test.cc
            LINK basalt_traces basalt_policies basalt_config basalt_devices basalt_topology_files)

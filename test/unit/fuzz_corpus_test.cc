// Replays the committed fuzz corpus through the same entry points, in every build.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "test/fuzz/devices_entry.h"
#include "test/fuzz/engine_entry.h"
#include "test/fuzz/imports_entry.h"
#include "test/fuzz/replay.h"
#include "test/fuzz/topology_entry.h"
#include "test/fuzz/usage_entry.h"

namespace basalt::fuzz {
namespace {

INSTANTIATE_TEST_SUITE_P(
    All, FuzzCorpus,
    testing::Values(
        std::pair{"openb_nodes", &OpenbNodes}, std::pair{"openb_pods", &OpenbPods},
        std::pair{"canonical_csv", &CanonicalCsv}, std::pair{"orders", &Orders},
        std::pair{"gunzip", &Gunzip}, std::pair{"journal", &Journal},
        std::pair{"snapshot", &Snapshot}, std::pair{"policy", &Policy}, std::pair{"yaml", &Yaml},
        std::pair{"machine_file", &MachineFile}, std::pair{"device_catalog", &DeviceCatalog},
        std::pair{"pod_file", &PodFile}, std::pair{"node_register", &NodeRegister},
        std::pair{"node_annotations", &NodeAnnotations}, std::pair{"pod_grants", &PodGrants},
        std::pair{"resource_slices", &ResourceSlices}, std::pair{"import_tables", &ImportTables},
        std::pair{"import_philly_json", &ImportPhillyJson}, std::pair{"import_k8s", &ImportK8s},
        std::pair{"import_volcano", &ImportVolcano}, std::pair{"usage_file", &UsageFile}),
    [](const auto& p) { return std::string(p.param.first); });

}  // namespace
}  // namespace basalt::fuzz

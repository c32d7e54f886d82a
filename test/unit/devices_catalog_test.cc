// The catalog's files are whole, users' files are read and refused with places; SKUs.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "devices/sku.h"
#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DeviceCatalog, HasTheVendorsAndModels) {
  std::vector<std::string> vendors;
  for (const Vendor& vendor : Cards().vendors) vendors.push_back(vendor.name);
  EXPECT_THAT(vendors, ElementsAre("amd", "ascend", "cambricon", "enflame", "hygon", "iluvatar",
                                   "kunlunxin", "metax", "mthreads", "nvidia"));
  for (const char* name : {"T4",
                           "V100M16",
                           "V100M32",
                           "A10",
                           "A30",
                           "A100",
                           "A100-80G",
                           "L20",
                           "L40S",
                           "H20",
                           "H100",
                           "H200",
                           "B200",
                           "Ascend910A",
                           "Ascend910B2",
                           "Ascend910B3",
                           "Ascend910B4",
                           "Ascend910B4-1",
                           "Ascend310P",
                           "Ascend910C",
                           "MLU370-X4",
                           "S60",
                           "K100-AI",
                           "MR-V100",
                           "P800",
                           "C500",
                           "S4000",
                           "MI300X",
                           "nvidia a100-sxm4-80gb"}) {
    EXPECT_NE(FindModel(Cards(), name), nullptr) << name;
  }
  EXPECT_EQ(FindModel(Cards(), "Voodoo"), nullptr);
}

TEST(DeviceCatalog, EveryModelIsWhole) {
  const std::vector<CardRules> rules = CardRulesOf(Cards());
  std::size_t models = 0;
  for (const Vendor& vendor : Cards().vendors) {
    EXPECT_FALSE(vendor.interfaces.empty());
    for (const CardModel& model : vendor.models) {
      SCOPED_TRACE(model.name);
      EXPECT_EQ(rules[models++], model.rules);
      EXPECT_EQ(model.rules.model, model.name);
      EXPECT_EQ(model.rules.vendor, vendor.name);
      EXPECT_TRUE(ValidateCardRules(model.rules, "r"));
      EXPECT_GE(model.memory_mib, 8192);
      EXPECT_GE(model.capacity_mib, model.memory_mib);
      for (const MigProfile& p : model.rules.mig) EXPECT_LE(p.memory_mib, model.memory_mib);
      for (const SliceTemplate& t : model.rules.templates) {
        EXPECT_LE(t.memory_mib, model.memory_mib);
      }
      bool served = false;
      for (const Interface& interface : vendor.interfaces) served |= Serves(interface, model);
      EXPECT_TRUE(served);
    }
  }
  EXPECT_EQ(rules.size(), models);
  // Each file says where its figures are from.
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(BASALT_SOURCE_DIR) + "/devices/catalog")) {
    std::ifstream file(entry.path());
    std::string line;
    std::getline(file, line);
    EXPECT_TRUE(line.starts_with("# ")) << entry.path();
  }
}

constexpr char kMine[] = R"(vendor: nvidia
help: ours
models:
  - {model: T4, help: our T4, memory_mib: 15360, compute_units: 60, short_names: [t4]}
  - {model: Q8, help: a new one, memory_mib: 49152, aliases: [NVIDIA Q8], short_names: [q8]}
)";

TEST(DeviceCatalog, UsersFilesReplaceAndAdd) {
  Catalog catalog = EmbeddedCatalog();
  auto mine = ParseVendor("mine.yaml", kMine);
  ASSERT_TRUE(mine) << mine.error().ToString();
  ASSERT_TRUE(AddVendor(&catalog, *mine, "mine.yaml"));
  EXPECT_EQ(FindModel(catalog, "T4")->memory_mib, 15360);
  EXPECT_EQ(FindModel(catalog, "nvidia q8")->name, "Q8");
  EXPECT_NE(FindModel(catalog, "A100"), nullptr);
  const auto r = ReadRequest(catalog, One({{"gpu-q8", "1"}}));
  ASSERT_TRUE(r);
  EXPECT_THAT(r->spec.models, ElementsAre("Q8"));
  auto stolen = ParseVendor("s.yaml", R"(vendor: mine
help: h
models:
  - {model: X, help: h, memory_mib: 1, aliases: [T4]}
)");
  ASSERT_TRUE(stolen);
  const Status refused = AddVendor(&catalog, *stolen, "s.yaml");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().ToString(), HasSubstr("s.yaml: model X: \"T4\" is already"));
}

TEST(DeviceCatalog, FaultsHavePlaces) {
  const auto why = [](const std::string& text) {
    const auto vendor = ParseVendor("f", text);
    EXPECT_FALSE(vendor) << text;
    return vendor ? "" : vendor.error().ToString();
  };
  const std::string head = "vendor: v\nhelp: h\nmodels:\n  - ";
  EXPECT_THAT(why("vendr: v"), HasSubstr("f:1:1: unknown key \"vendr\"; did you mean \"vendor\"?"));
  EXPECT_THAT(why(head + "{model: m}"), HasSubstr("\"memory_mib\" is missing"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 0}"),
              HasSubstr("f:4:37: memory_mib is 0, outside 1.."));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, grouping: wing}"),
              HasSubstr("did you mean \"wings\"?"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, one_qos: maybe}"),
              HasSubstr("one_qos must be yes or no"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, counts: [2, 1]}"),
              HasSubstr("f:4:5: model m: counts must ascend"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9}\n  - {model: m, help: h, "
                         "memory_mib: 9}"),
              HasSubstr("f:5:5: model \"m\" stands twice"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, mig_layout: [{profile: 1g, start: "
                         "0}]}"),
              HasSubstr("unknown profile \"1g\""));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, templates: [{name: t, memory_mib: 10, "
                         "compute_milli: 500}]}"),
              HasSubstr("f:4:5: model m: template t has 10 MiB, more than the card's 9"));
  EXPECT_THAT(why(head + "{model: m, help: h, memory_mib: 9, mig_slots: 1, mig: [{name: 1g, "
                         "memory_mib: 10, compute_milli: 500, size: 1, starts: [0]}]}"),
              HasSubstr("f:4:5: model m: MIG profile 1g has 10 MiB, more than the card's 9"));
  const std::string face = head + "{model: m, help: h, memory_mib: 9}\ninterfaces:\n  - ";
  EXPECT_THAT(why(face + "{interface: i, platform: hami}"), HasSubstr("needs a resource name"));
  EXPECT_THAT(why(face + "{interface: i, platform: hami, count: a/$word}"),
              HasSubstr("model m needs a word"));
  EXPECT_THAT(why(face + "{interface: i, platform: hami, count: a/b, models: [n]}"),
              HasSubstr("unknown model \"n\""));
  EXPECT_THAT(why(face + "{interface: i, platform: hami, count: a/b, annotations: [{key: k, "
                         "slice: $uid}]}"),
              HasSubstr("k: unknown name \"$uid\""));
}

TEST(DeviceCatalog, TheDocumentationHasTheKeys) {
  std::ifstream file(std::string(BASALT_SOURCE_DIR) + "/docs/devices.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  for (const std::string& table : {CatalogKeys(), SkuKeys()}) {
    EXPECT_NE(text.find(table), std::string::npos) << table;
  }
  for (const Vendor& vendor : Cards().vendors) {
    EXPECT_NE(text.find("| " + vendor.name + " |"), std::string::npos) << vendor.name;
  }
}

TEST(Skus, AreReadAndRefused) {
  const auto skus = ParseSkus(Cards(), "s.yaml", R"(skus:
  - name: quarter
    gpus: 1
    gpu_milli: 250
    gpu_memory_mib: 10240
    models: [NVIDIA A100-SXM4-40GB]
    cpu_milli: 8000
    memory_mib: 32768
    price_milli_per_hour: 1250
  - {name: npu, gpus: 8, gpu_milli: 1000, vendors: [ascend], price_milli_per_hour: 9, currency: CNY}
)");
  ASSERT_TRUE(skus) << skus.error().ToString();
  const auto quarter = FindSku(*skus, "quarter");
  ASSERT_TRUE(quarter);
  EXPECT_EQ(quarter->price_milli_per_hour, 1250);
  EXPECT_EQ(quarter->currency, "USD");
  EXPECT_EQ(quarter->request.gpu_milli, 250);
  EXPECT_EQ(quarter->request.cpu_milli, 8000);
  EXPECT_THAT(quarter->request.models, ElementsAre("A100"));
  EXPECT_EQ(FindSku(*skus, "npu")->currency, "CNY");
  EXPECT_THAT(FindSku(*skus, "quater").error().message, HasSubstr("did you mean \"quarter\"?"));
  const auto why = [](const std::string& row) {
    const auto bad = ParseSkus(Cards(), "s.yaml", "skus:\n  - " + row + "\n");
    EXPECT_FALSE(bad) << row;
    return bad ? "" : bad.error().ToString();
  };
  EXPECT_THAT(why("{name: a}"), HasSubstr("\"price_milli_per_hour\" is missing"));
  EXPECT_THAT(why("{name: a, price_milli_per_hour: 1, gpus: 1}"),
              HasSubstr("s.yaml:2:5: SKU a: asks for 1 cards but for no compute"));
  EXPECT_THAT(why("{name: a, price_milli_per_hour: 1, vendors: [x]}"), HasSubstr("unknown vendor"));
  EXPECT_THAT(why("{name: a, price_milli_per_hour: 1}\n  - {name: a, price_milli_per_hour: 1}"),
              HasSubstr("s.yaml:3:5: SKU \"a\" stands twice"));
  EXPECT_THAT(why("{name: a, price_milli_per_hour: 1, service_class: gold}"),
              HasSubstr("s.yaml:2:5"));
}

TEST(Skus, AreOfCardsThatThereAre) {
  const auto why = [](const std::string& rest) {
    const auto bad =
        ParseSkus(Cards(), "s.yaml",
                  "skus:\n  - {name: a, price_milli_per_hour: 1, gpus: 1, " + rest + "}\n");
    EXPECT_FALSE(bad) << rest;
    return bad ? "" : bad.error().ToString();
  };
  EXPECT_THAT(why("gpu_milli: 250, models: [MLU370-X5]"),
              HasSubstr("s.yaml:2:5: unknown model \"MLU370-X5\"; did you mean \"MLU370-X4\"?"));
  EXPECT_THAT(why("gpu_milli: 250, models: [A100], vendors: [amd]"),
              HasSubstr("SKU a: every model that is allowed is also excluded, by name or by vendor "
                        "(A100)"));
  EXPECT_THAT(why("gpu_memory_mib: 99999, models: [A100]"),
              HasSubstr("SKU a: 99999 MiB on a card; the largest that it allows has 40960"));
  EXPECT_THAT(why("mig_profile: 1g.11gb, models: [A100]"),
              HasSubstr("SKU a: unknown MIG profile \"1g.11gb\"; did you mean \"1g.10gb\"?"));
  EXPECT_THAT(why("mig_profile: 1g.10gb, models: [T4]"), HasSubstr("has MIG profiles"));
}

}  // namespace
}  // namespace basalt::devices

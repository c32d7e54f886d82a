// Card rules: what an ask becomes on a card, and the rules that are refused.
#include <gtest/gtest.h>

#include "devices/catalog.h"
#include "scheduler-core/cluster/card_rules.h"

namespace basalt {
namespace {

const devices::Catalog& Cards() {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  return catalog;
}
const devices::CardModel& Model(const std::string& name) {
  const devices::CardModel* model = devices::FindModel(Cards(), name);
  EXPECT_NE(model, nullptr) << name;
  return *model;
}
CardDemand On(const std::string& name, const CardAsk& ask) {
  const devices::CardModel& model = Model(name);
  const auto memory = static_cast<std::int32_t>(model.memory_mib);
  return DemandOn(ask, &model.rules, memory, memory, kWholeCard);
}
std::string TemplateOf(const std::string& name, std::int32_t memory, std::int32_t milli = 0) {
  const CardDemand demand = On(name, {.milli = milli, .memory = memory});
  if (!demand.possible) return "none";
  if (demand.whole) return "whole";
  if (demand.slice_template < 0) return "any amount";
  const SliceTemplate& t =
      Model(name).rules.templates[static_cast<std::size_t>(demand.slice_template)];
  EXPECT_EQ(demand.memory, t.memory_mib);
  EXPECT_EQ(demand.milli, t.compute_milli);
  return t.name;
}

TEST(CardRules, WithoutRulesTheAskIsTaken) {
  const CardDemand d = DemandOn({.milli = 301, .memory = 5001}, nullptr, 24576, 24576, 1000);
  EXPECT_TRUE(d.possible && !d.whole);
  EXPECT_EQ(d.milli, 301);
  EXPECT_EQ(d.memory, 5001);
  EXPECT_FALSE(DemandOn({.milli = 1, .units = 5}, nullptr, 24576, 24576, 1000).possible);
  EXPECT_FALSE(DemandOn({.memory = 24577}, nullptr, 24576, 24576, 1000).possible);
  EXPECT_FALSE(DemandOn({.milli = 1000}, nullptr, 24576, 24576, 999).possible);
}

TEST(CardRules, PercentIsOfPhysicalMemoryAndTheLargerHolds) {
  // Oversubscribed to 200 %: 33 % of 24,576 MiB is 8,110, whatever may be handed out.
  EXPECT_EQ(DemandOn({.percent = 33}, nullptr, 24576, 49152, 1000).memory, 8110);
  EXPECT_EQ(DemandOn({.memory = 9000, .percent = 33}, nullptr, 24576, 49152, 1000).memory, 9000);
  EXPECT_EQ(DemandOn({.memory = 30000}, nullptr, 24576, 49152, 1000).memory, 30000);
}

TEST(CardRules, AWholeCardIsAllThatIsSchedulable) {
  const CardDemand d = DemandOn({.memory = 5, .whole = true}, nullptr, 24576, 49152, 2000);
  // A card that has less memory than was asked beside all of its compute is none.
  EXPECT_FALSE(DemandOn({.memory = 49153, .whole = true}, nullptr, 24576, 49152, 2000).possible);
  EXPECT_TRUE(d.possible && d.whole);
  EXPECT_EQ(d.milli, 2000);
  EXPECT_EQ(d.memory, 49152);
}

TEST(CardRules, UnitsBecomeMilliRoundedUp) {
  EXPECT_EQ(On("A100", {.units = 100}).milli, 330);  // 320.5 of 312 TFLOPS, in percent parts
  EXPECT_EQ(On("H20", {.units = 148}).milli, 1000);
  EXPECT_FALSE(On("H20", {.units = 149}).possible);
  EXPECT_FALSE(On("S60", {.units = 1}).possible);  // nobody has published what it computes
  EXPECT_EQ(On("Ascend910B3", {.memory = 1, .units = 100}).milli, 500);  // 320: the second template
}

TEST(CardRules, ComputePartsAddUpToACard) {
  // Mthreads cuts a card in 16 cores: 62.5 milli each.
  EXPECT_EQ(On("S4000", {.milli = 62}).milli, 62);
  EXPECT_EQ(On("S4000", {.milli = 63}).milli, 125);
  for (const std::int32_t parts : {1, 3, 7, 16, 100, 104, 304, 999, 1000}) {
    const CardRules rules{.model = "m", .vendor = "v", .compute_parts = parts};
    for (std::int32_t k = 1; k <= parts; ++k) {
      const std::int32_t milli = 1000 * k / parts;
      const CardDemand d = DemandOn({.milli = milli}, &rules, 0, 0, 1000);
      ASSERT_TRUE(d.possible);
      ASSERT_EQ(d.milli, milli) << k << " of " << parts;
      if (milli < 1000) {
        ASSERT_EQ(DemandOn({.milli = milli + 1}, &rules, 0, 0, 1000).milli, 1000 * (k + 1) / parts)
            << k << " of " << parts;
      }
    }
  }
}

TEST(CardRules, MemoryUnitsAreRoundedUpButNotBeyondTheCard) {
  EXPECT_EQ(On("MLU370-X4", {.memory = 1}).memory, 256);
  EXPECT_EQ(On("MLU370-X4", {.memory = 1000}).memory, 1024);
  const CardRules rules{.model = "m", .vendor = "v", .memory_unit_mib = 1000};
  EXPECT_EQ(DemandOn({.memory = 2100}, &rules, 2500, 2500, 1000).memory, 2500);
  EXPECT_FALSE(DemandOn({.memory = 2501}, &rules, 2500, 2500, 1000).possible);
  // Mthreads: 2, 4, 8, 16, 32, 64 or 96 units of 512 MiB.
  EXPECT_EQ(On("S4000", {.memory = 10240}).memory, 16384);
  EXPECT_EQ(On("S4000", {.memory = 32769}).memory, 49152);
  EXPECT_EQ(On("S4000", {.milli = 500}).memory, 0);
}

// HAMi v2.10's trimMemory: the smallest template, else the whole card, else none.
TEST(CardRules, AscendTemplates) {
  EXPECT_EQ(TemplateOf("Ascend910A", 1), "vir02");
  EXPECT_EQ(TemplateOf("Ascend910A", 2184), "vir02");
  EXPECT_EQ(TemplateOf("Ascend910A", 2185), "vir04");
  EXPECT_EQ(TemplateOf("Ascend910A", 8738), "vir08");
  EXPECT_EQ(TemplateOf("Ascend910A", 17476), "vir16");
  EXPECT_EQ(TemplateOf("Ascend910A", 17477), "whole");
  EXPECT_EQ(TemplateOf("Ascend910A", 32768), "whole");
  EXPECT_EQ(TemplateOf("Ascend910A", 32769), "none");
  EXPECT_EQ(TemplateOf("Ascend910B2", 8192), "vir03_1c_8g");
  EXPECT_EQ(TemplateOf("Ascend910B2", 8193), "vir06_1c_16g");
  EXPECT_EQ(TemplateOf("Ascend910B2", 32768), "vir12_3c_32g");
  EXPECT_EQ(TemplateOf("Ascend910B3", 16384), "vir05_1c_16g");
  EXPECT_EQ(TemplateOf("Ascend910B3", 20000), "vir10_3c_32g");
  EXPECT_EQ(TemplateOf("Ascend910B4", 8192), "vir05_1c_8g");
  EXPECT_EQ(TemplateOf("Ascend910B4", 16384), "vir10_3c_16g");
  EXPECT_EQ(TemplateOf("Ascend910B4", 16385), "whole");
  EXPECT_EQ(TemplateOf("Ascend910B4-1", 16385), "vir10_3c_32g");
  EXPECT_EQ(TemplateOf("Ascend310P", 3072), "vir01");
  EXPECT_EQ(TemplateOf("Ascend310P", 6144), "vir02");
  EXPECT_EQ(TemplateOf("Ascend310P", 12288), "vir04");
  EXPECT_EQ(TemplateOf("Ascend310P", 12289), "whole");
  // Compute counts too, though HAMi's scheduler does not look at it.
  EXPECT_EQ(TemplateOf("Ascend910B3", 1, 251), "vir10_3c_32g");
  EXPECT_EQ(TemplateOf("Ascend910B3", 1, 501), "whole");
  EXPECT_EQ(TemplateOf("Ascend910C", 1), "whole");
  EXPECT_EQ(TemplateOf("Ascend910B3-soft", 20000), "any amount");
}

TEST(CardRules, OtherTemplates) {
  EXPECT_EQ(TemplateOf("P800", 24576), "24g");
  EXPECT_EQ(TemplateOf("P800", 24577), "48g");
  EXPECT_EQ(TemplateOf("P800", 49153), "whole");
  EXPECT_EQ(TemplateOf("S60", 1), "1g.12gb");
  EXPECT_EQ(TemplateOf("S60", 12289), "2g.24gb");
  EXPECT_EQ(TemplateOf("S60", 0, 510), "3g.36gb");
  EXPECT_EQ(TemplateOf("S60", 40000), "whole");
}

TEST(CardRules, RefusesWhatNoCardIs) {
  const CardRules good{.model = "m", .vendor = "v"};
  ASSERT_TRUE(ValidateCardRules(good, "r"));
  const auto refused = [](const CardRules& rules, const std::string& part) {
    const Status ok = ValidateCardRules(rules, "r");
    ASSERT_FALSE(ok) << part;
    EXPECT_NE(ok.error().ToString().find(part), std::string::npos) << ok.error().ToString();
  };
  const MigProfile one{
      .name = "1g", .memory_mib = 10, .compute_milli = 142, .size = 1, .starts = {0, 1}};
  auto with = [&](auto change) {
    CardRules rules = good;
    change(rules);
    return rules;
  };
  refused(with([](CardRules& r) { r.model.clear(); }), "need a model");
  refused(with([](CardRules& r) { r.vendor.clear(); }), "need a vendor");
  refused(with([](CardRules& r) { r.compute_units = -1; }), "-1 compute units");
  refused(with([](CardRules& r) { r.memory_unit_mib = 0; }), "memory unit of 0 MiB");
  refused(with([](CardRules& r) { r.compute_parts = 1001; }), "1001 compute parts");
  refused(with([](CardRules& r) { r.memory_sizes = {8, 8}; }), "memory sizes must ascend");
  refused(with([](CardRules& r) { r.group_size = 65; }), "groups of 65");
  refused(with([](CardRules& r) { r.grouping = CardGrouping::kModules; }), "need group_size");
  refused(with([](CardRules& r) { r.counts = {2, 1}; }), "counts must ascend");
  refused(with([](CardRules& r) { r.templates = {{"a", 2, 1}, {"b", 1, 1}}; }), "list them by");
  refused(with([](CardRules& r) { r.templates = {{"", 2, 1}}; }), "needs a name");
  refused(with([](CardRules& r) { r.templates = {{"a", 2, 1001}}; }), "template a");
  refused(with([](CardRules& r) { r.mig_slots = 9; }), "9 MIG slots");
  refused(with([](CardRules& r) { r.mig_slots = 8; }), "needs both");
  const auto mig = [&](auto change) {
    CardRules rules = good;
    rules.mig_slots = 2;
    rules.mig = {one};
    change(rules);
    return rules;
  };
  ASSERT_TRUE(ValidateCardRules(mig([](CardRules&) {}), "r"));
  refused(mig([](CardRules& r) { r.mig[0].size = 2; }), "leave the card");
  refused(mig([](CardRules& r) { r.mig[0].starts = {1, 0}; }), "ascending");
  refused(mig([](CardRules& r) { r.mig[0].starts = {}; }), "its starts");
  refused(mig([](CardRules& r) { r.mig_layout = {{1, 0}}; }), "names profile 1");
  refused(mig([](CardRules& r) { r.mig_layout = {{0, 2}}; }), "cannot start");
  refused(mig([](CardRules& r) { r.mig_layout = {{0, 1}, {0, 1}}; }), "overlaps");
  refused(mig([](CardRules& r) {
            r.mig[0].media = true;
            r.mig_layout = {{0, 0}, {0, 1}};
          }),
          "media engines");
}

}  // namespace
}  // namespace basalt

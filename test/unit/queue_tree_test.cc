// The tree of queues: what it refuses, what it adds up, capacities and the guarantee rule.
#include "scheduler-core/queueing/queue_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using testing::HasSubstr;

QueueSpec Spec(std::string name, std::string parent = "", AmountMap guarantee = {},
               AmountMap deserved = {}, AmountMap capacity = {}) {
  QueueSpec spec;
  spec.name = std::move(name);
  spec.parent = std::move(parent);
  spec.guarantee = std::move(guarantee);
  spec.deserved = std::move(deserved);
  spec.capacity = std::move(capacity);
  return spec;
}

QueueId MustAdd(QueueTree& tree, const QueueSpec& spec) {
  const auto id = tree.Add(spec);
  if (!id) ADD_FAILURE() << id.error().ToString();
  return id.value_or(QueueId());
}

std::string Refused(QueueTree& tree, const QueueSpec& spec) {
  const std::size_t before = tree.order().size();
  const auto id = tree.Add(spec);
  EXPECT_EQ(tree.order().size(), before + (id ? 1U : 0U));
  return id ? "accepted" : id.error().ToString();
}

TEST(Resources, NamesUnitsAndCards) {
  ResourceTable table;
  const ResourceId gpu = table.Intern("gpu");
  EXPECT_EQ(table.Intern("gpu"), gpu);
  EXPECT_FALSE(table.Find("cpu").has_value());
  Amounts early = table.Make({{"gpu", 2500}});
  const ResourceId late = table.Intern("gpu-memory/A100");
  EXPECT_EQ(early[late], 0);
  early.Add(late, 0);
  EXPECT_EQ(early, table.Make({{"gpu", 2500}}));
  EXPECT_EQ(table.Format(gpu, 2500), "2.5");
  EXPECT_EQ(table.Format(gpu, 40'000), "40");
  EXPECT_EQ(table.Format(gpu, -250), "-0.25");
  EXPECT_EQ(table.Format(late, 1024), "1024 MiB");
  EXPECT_EQ(table.Format(table.Intern("sku/small"), 1500), "1500");
  for (const char* bad : {"", "gpu/", "/A100", "two\tparts"}) {
    EXPECT_FALSE(ValidateResourceName(bad, "here").has_value()) << bad;
  }

  const CardResources a100 = table.ForModel("A100");
  Amounts whole, slice, unknown;
  AddCards(a100, 2, 1000, 81'920, &whole);
  EXPECT_EQ(whole, table.Make({{"gpu", 2000},
                               {"gpu/A100", 2000},
                               {"cards", 2},
                               {"cards/A100", 2},
                               {"gpu-memory", 163'840},
                               {"gpu-memory/A100", 163'840}}));
  AddCards(a100, 2, 300, 0, &slice);
  EXPECT_EQ(slice, table.Make({{"gpu", 600}, {"gpu/A100", 600}, {"slices", 2}}));
  AddCards(table.ForModel(""), 1, 1000, 0, &unknown);
  EXPECT_EQ(unknown, table.Make({{"gpu", 1000}, {"cards", 1}}));
  Limits limits;
  limits.Set(late, 5);
  EXPECT_FALSE(limits.limits(gpu));
  EXPECT_EQ(limits[late], 5);
}

TEST(QueueTree, RefusesWhatDoesNotFitTogether) {
  QueueTree tree;
  const QueueId ml =
      MustAdd(tree, Spec("ml", "", {{"gpu", 8000}}, {{"gpu", 10'000}}, {{"gpu", 16'000}}));
  EXPECT_THAT(Refused(tree, Spec("x", "mI")), HasSubstr("queue 'x': parent: unknown queue \"mI\""));
  EXPECT_THAT(Refused(tree, Spec("x", "mll")), HasSubstr("did you mean \"ml\""));
  EXPECT_THAT(Refused(tree, Spec("ml")), HasSubstr("another queue has this name"));
  EXPECT_THAT(Refused(tree, Spec("root")), HasSubstr("is not a name for a queue"));
  EXPECT_THAT(Refused(tree, Spec("x", "", {{"gpu", 5000}}, {{"gpu", 4000}})),
              HasSubstr("queue 'x': guarantee: 5 gpu is more than its deserved, 4"));
  EXPECT_THAT(Refused(tree, Spec("x", "", {}, {{"gpu", 5000}}, {{"gpu", 4000}})),
              HasSubstr("queue 'x': deserved: 5 gpu is more than its capacity, 4"));
  EXPECT_THAT(Refused(tree, Spec("x", "", {{"gpu", -1}})), HasSubstr("-1 of gpu is outside 0.."));
  EXPECT_THAT(Refused(tree, Spec("x", "", {{"gpu/", 1}})), HasSubstr("not a resource name"));
  MustAdd(tree, Spec("ml/a", "ml", {{"gpu", 5000}}));
  EXPECT_THAT(Refused(tree, Spec("ml/b", "ml", {{"gpu", 4000}})),
              HasSubstr("queue 'ml': guarantee: the queues below it have 9 gpu together, more than "
                        "its 8"));
  EXPECT_THAT(Refused(tree, Spec("ml/b", "ml", {}, {{"gpu", 6000}})),
              HasSubstr("queue 'ml': deserved: the queues below it have 11 gpu together"));
  // A parent that names no guarantee has its children's sum, and that must fit its capacity.
  MustAdd(tree, Spec("web", "", {}, {}, {{"cards", 10}}));
  MustAdd(tree, Spec("web/a", "web", {{"cards", 6}}));
  EXPECT_EQ(tree.guarantee(*tree.Find("web"))[*tree.resources().Find("cards")], 6);
  EXPECT_THAT(Refused(tree, Spec("web/b", "web", {{"cards", 5}})),
              HasSubstr("queue 'web': guarantee: 11 cards is more than its capacity, 10"));
  QueueSpec odd = Spec("x");
  odd.weight = -1;
  EXPECT_THAT(Refused(tree, odd), HasSubstr("queue 'x': weight: -1 is outside 0..1000000"));
  odd.weight = 1;
  odd.memory_ratio_percent = 50;
  EXPECT_THAT(Refused(tree, odd), HasSubstr("memory_ratio_percent"));

  // An update is checked alike, and changes nothing when refused.
  EXPECT_FALSE(tree.Update(ml, Spec("ml", "", {{"gpu", 1000}})).has_value());
  EXPECT_THAT(tree.Update(ml, Spec("ml", "ml/a")).error().ToString(), HasSubstr("below itself"));
  EXPECT_EQ(tree.spec(ml).deserved.at("gpu"), 10'000);
  tree.Audit();
}

TEST(QueueTree, AddsAllInAnyOrder) {
  QueueTree tree;
  const auto ids = tree.AddAll({Spec("a/b/c", "a/b"), Spec("a/b", "a"), Spec("a"), Spec("z")});
  ASSERT_TRUE(ids.has_value());
  EXPECT_EQ(tree.depth((*ids)[0]), 3);
  EXPECT_TRUE(tree.IsUnder((*ids)[0], *tree.Find("a")));
  EXPECT_FALSE(tree.IsUnder((*ids)[3], *tree.Find("a")));
  std::string order;
  for (const QueueId id : tree.order()) order += tree.name(id) + " ";
  EXPECT_EQ(order, "root a a/b a/b/c z ");
  const auto cycle = tree.AddAll({Spec("p", "q"), Spec("q", "p")});
  ASSERT_FALSE(cycle.has_value());
  EXPECT_THAT(cycle.error().ToString(), HasSubstr("queue 'p': parent: is below itself"));
  EXPECT_FALSE(tree.Find("p").has_value());
  EXPECT_FALSE(tree.AddAll({Spec("p"), Spec("p")}).has_value());
}

TEST(QueueTree, HoldsPodsInLeavesOnlyAndRemovesWhatIsEmpty) {
  QueueTree tree;
  const QueueId ml = MustAdd(tree, Spec("ml"));
  const Amounts card = tree.resources().Make({{"cards", 1}});
  tree.Charge(ml, card, true);
  EXPECT_THAT(Refused(tree, Spec("ml/a", "ml")), HasSubstr("'ml' holds pods"));
  EXPECT_THAT(tree.Remove(ml).error().ToString(), HasSubstr("queue 'ml': holds pods"));
  tree.Uncharge(ml, card, true);
  tree.AddPending(ml, card);
  EXPECT_THAT(tree.Remove(ml).error().ToString(), HasSubstr("pending jobs"));
  tree.RemovePending(ml, card);
  const QueueId child = MustAdd(tree, Spec("ml/a", "ml"));
  EXPECT_FALSE(tree.IsLeaf(ml));
  EXPECT_THAT(tree.Remove(ml).error().ToString(), HasSubstr("has 1 queues below it"));
  // A queue that moves takes along what it holds.
  const QueueId web = MustAdd(tree, Spec("web"));
  tree.Charge(child, card, false);
  EXPECT_TRUE(tree.Update(child, Spec("web/a", "web")).has_value());
  EXPECT_TRUE(tree.allocated(ml).IsZero());
  EXPECT_EQ(tree.allocated(web), card);
  EXPECT_EQ(tree.name(child), "web/a");
  tree.Uncharge(child, card, false);
  ASSERT_TRUE(tree.Remove(child).has_value());
  EXPECT_FALSE(tree.contains(child));
  EXPECT_EQ(MustAdd(tree, Spec("again")), child);  // the slot is used again
  tree.Audit();
}

TEST(QueueTree, RefusalsNameQueueResourceAndAmounts) {
  QueueTree tree;
  MustAdd(tree, Spec("ml", "", {}, {}, {{"gpu/A100", 48'000}}));
  const QueueId vision = MustAdd(tree, Spec("ml/vision", "ml", {}, {}, {{"gpu/A100", 40'000}}));
  const QueueId text = MustAdd(tree, Spec("ml/text", "ml"));
  const QueueId web = MustAdd(tree, Spec("web", "", {{"gpu/A100", 10'000}}));
  const ResourceId gpu = *tree.resources().Find("gpu/A100");
  tree.SetTotal(gpu, 64'000);
  const auto why = [&](QueueId queue, std::int64_t milli, bool preemptible) {
    const auto refusal =
        tree.Refusal(queue, tree.resources().Make({{"gpu/A100", milli}}), preemptible);
    return refusal ? tree.Describe(*refusal) : "";
  };
  EXPECT_EQ(why(vision, 40'000, true), "");
  tree.Charge(vision, tree.resources().Make({{"gpu/A100", 40'000}}), true);
  EXPECT_EQ(why(vision, 8000, true), "queue 'ml/vision' has 40 of 40 gpu/A100, 8 more asked");
  EXPECT_EQ(why(text, 8500, true), "queue 'ml' has 40 of 48 gpu/A100, 8.5 more asked");
  EXPECT_EQ(why(web, 25'000, true), "the cluster has 40 of 64 gpu/A100, 25 more asked");
  // Preemptible borrowing may use what is guaranteed to web, other work may not: 64 - 10.
  tree.Uncharge(vision, tree.resources().Make({{"gpu/A100", 40'000}}), true);
  const QueueId lab = MustAdd(tree, Spec("lab"));
  EXPECT_EQ(why(lab, 64'000, true), "");
  EXPECT_EQ(why(lab, 54'000, false), "");
  EXPECT_EQ(why(lab, 54'001, false),
            "the cluster has 64 gpu/A100, of which 10 are guaranteed to queues or held by work "
            "that cannot be taken back; 54.001 more would break a guarantee");
  EXPECT_EQ(why(web, 64'000, false), "");  // its own guarantee is inside
  // Reclaim can make room below a capacity, not above it and not against guarantees.
  const auto firm = [&](QueueId queue, std::int64_t milli, bool preemptible) {
    const auto refusal =
        tree.FirmRefusal(queue, tree.resources().Make({{"gpu/A100", milli}}), preemptible);
    return refusal ? tree.name(refusal->queue) : "";
  };
  tree.Charge(lab, tree.resources().Make({{"gpu/A100", 64'000}}), true);
  EXPECT_NE(why(vision, 40'000, false), "");
  EXPECT_EQ(firm(vision, 40'000, false), "");
  EXPECT_EQ(firm(vision, 40'001, false), "ml/vision");
  EXPECT_EQ(firm(lab, 64'000, true), "");
  EXPECT_EQ(firm(lab, 60'000, false), "root");
  tree.Uncharge(lab, tree.resources().Make({{"gpu/A100", 64'000}}), true);
  // Inside ml the same with its capacity: a guarantee there binds its siblings.
  QueueSpec guaranteed = tree.spec(text);
  guaranteed.guarantee = {{"gpu/A100", 20'000}};
  ASSERT_TRUE(tree.Update(text, guaranteed).has_value());
  EXPECT_EQ(why(vision, 28'001, false).substr(0, 27), "queue 'ml' has 48 gpu/A100,");
  EXPECT_EQ(why(vision, 28'001, true), "");
  // What a queue that is not reclaimable borrows cannot be taken back, preemptible or not.
  QueueSpec selfish = tree.spec(lab);
  selfish.reclaimable = false;
  ASSERT_TRUE(tree.Update(lab, selfish).has_value());
  EXPECT_EQ(why(lab, 34'000, true), "");
  EXPECT_NE(why(lab, 34'001, true), "");
  EXPECT_TRUE(tree.CheckGuarantees().has_value());
  tree.SetTotal(gpu, 25'000);
  EXPECT_EQ(tree.CheckGuarantees().error().ToString(),
            "queues: guarantees of gpu/A100 add up to 30, the cluster has 25");
  EXPECT_EQ(tree.memory_ratio(lab), 0);
}

TEST(QueueTree, MemoryRatioIsTheLowestOnThePath) {
  QueueTree tree;
  QueueSpec top = Spec("a");
  top.memory_ratio_percent = 150;
  MustAdd(tree, top);
  QueueSpec below = Spec("a/b", "a");
  const QueueId b = MustAdd(tree, below);
  EXPECT_EQ(tree.memory_ratio(b), 150);
  below.memory_ratio_percent = 200;
  ASSERT_TRUE(tree.Update(b, below).has_value());
  EXPECT_EQ(tree.memory_ratio(b), 150);
  below.memory_ratio_percent = 120;
  ASSERT_TRUE(tree.Update(b, below).has_value());
  EXPECT_EQ(tree.memory_ratio(b), 120);
}

// Random trees, and random work that asks before it is charged.
TEST(QueueTree, NoQueueAboveCapacityAndClaimsFit) {
  const char* kNames[] = {"gpu", "cards", "memory"};
  for (int round = 0; round < support::Scaled(60); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 3);
    QueueTree tree;
    const auto amounts = [&](std::uint32_t bound) {
      AmountMap map;
      for (const char* name : kNames) {
        if (rng.Below(2)) map[name] = rng.Below(bound);
      }
      return map;
    };
    for (int q = 0; q < 12; ++q) {
      const auto& order = tree.order();
      const QueueId parent = order[rng.Below(static_cast<std::uint32_t>(order.size()))];
      QueueSpec spec =
          Spec("q" + std::to_string(q), tree.name(parent), amounts(12), {}, amounts(60));
      spec.reclaimable = rng.Below(4) != 0;
      (void)tree.Add(spec);  // what does not fit together is refused
    }
    for (const char* name : kNames) {
      const ResourceId r = tree.resources().Intern(name);
      tree.SetTotal(r, tree.guarantee(QueueTree::kRoot)[r] + rng.Below(40));
    }
    std::vector<QueueId> leaves;
    for (const QueueId id : tree.order()) {
      if (tree.IsLeaf(id)) leaves.push_back(id);
    }
    struct Pod {
      QueueId queue;
      Amounts held;
      bool preemptible;
    };
    std::vector<Pod> pods;
    int refused = 0;
    for (int step = 0; step < 1500; ++step) {
      if (!pods.empty() && rng.Below(5) < 2) {
        const std::size_t i = rng.Below(static_cast<std::uint32_t>(pods.size()));
        tree.Uncharge(pods[i].queue, pods[i].held, pods[i].preemptible);
        pods[i] = pods.back();
        pods.pop_back();
      } else {
        Pod pod{
            leaves[rng.Below(static_cast<std::uint32_t>(leaves.size()))], {}, rng.Below(2) != 0};
        for (const char* name : kNames) pod.held.Set(tree.resources().Intern(name), rng.Below(8));
        const auto refusal = tree.Refusal(pod.queue, pod.held, pod.preemptible);
        if (refusal) {
          ++refused;
          ASSERT_GT(refusal->held + refusal->asked, refusal->limit);
          ASSERT_FALSE(tree.Describe(*refusal).empty());
          continue;
        }
        tree.Charge(pod.queue, pod.held, pod.preemptible);
        pods.push_back(pod);
      }
      for (const QueueId id : tree.order()) {
        for (std::size_t i = 0; i < tree.resources().size(); ++i) {
          const ResourceId r(i);
          ASSERT_LE(tree.allocated(id)[r], tree.capacity(id)[r]) << tree.name(id);
          ASSERT_LE(tree.claim(id)[r], tree.capacity(id)[r]) << tree.name(id);
        }
      }
    }
    tree.Audit();
    EXPECT_GT(refused, 0);
  }
}

}  // namespace
}  // namespace basalt

// Domains searched by two threads that finish in any order give the answer of one thread. Also run
// under ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::kRack;

// Two workers that both take at least one item of every batch, in a shuffled order, and that sleep
// or yield before each, so that no two runs finish alike.
class Perturbed : public Executor {
 public:
  explicit Perturbed(std::uint64_t seed) : rng_(seed, 9) {}
  void ForEach(std::size_t count, const std::function<void(std::size_t)>& fn) override {
    ++batches_;
    std::vector<std::size_t> order(count);
    std::vector<int> pauses(count);
    for (std::size_t i = 0; i < count; ++i) {
      order[i] = i;
      std::swap(order[i], order[rng_.Below(static_cast<std::uint32_t>(i) + 1)]);
      pauses[i] = static_cast<int>(rng_.Below(40));
    }
    std::atomic<std::size_t> next{0};
    std::barrier both(2);
    const auto work = [&] {
      bool first = true;
      for (std::size_t k = next.fetch_add(1); k < count; k = next.fetch_add(1)) {
        if (first && count >= 2) both.arrive_and_wait();
        first = false;
        if (pauses[k] % 2 == 0) {
          std::this_thread::yield();
        } else {
          std::this_thread::sleep_for(std::chrono::microseconds(pauses[k]));
        }
        fn(order[k]);
        const std::lock_guard lock(mutex_);
        workers_.insert(std::this_thread::get_id());
        last_batch_.insert({batches_, std::this_thread::get_id()});
      }
    };
    std::thread a(work);
    std::thread b(work);
    a.join();
    b.join();
    std::size_t of_this = 0;
    for (const auto& [batch, id] : last_batch_) of_this += batch == batches_ ? 1 : 0;
    shared_ += of_this == 2 ? 1 : 0;
  }
  int batches() const { return batches_; }
  int shared() const { return shared_; }  // batches of which both workers ran a part

 private:
  Rng rng_;
  std::mutex mutex_;
  std::set<std::thread::id> workers_;
  std::set<std::pair<int, std::thread::id>> last_batch_;
  int batches_ = 0;
  int shared_ = 0;
};

struct Answer {
  Digest128 decisions;
  Digest128 state;
  std::uint64_t steps = 0;
  std::vector<std::string> reasons;
  friend bool operator==(const Answer&, const Answer&) = default;
};

// Racks that look large enough by number, of which only the later ones truly are: the search has to
// try several.
Answer Search(std::uint64_t seed, Executor* executor) {
  Rng rng(seed, 13);
  EngineOptions options;
  options.executor = executor;
  options.seed = seed;
  auto nodes = support::Racks(10, 3, 4, 4);
  for (NodeSpec& node : nodes) node.cpu_milli = 1000 * (6 + rng.Below(10));
  auto engine = support::GangEngine(nodes, options);
  Answer answer;
  for (std::uint64_t g = 0; g < 12; ++g) {
    std::vector<support::TaskAsk> tasks = {
        {support::Ask(1000 * (3 + rng.Below(4)), 2, 1000), 2, 3, 0},
        {support::Ask(1000 * (2 + rng.Below(4)), 1, 500), 3, 3, 0},
        {support::Ask(1000 * (1 + rng.Below(5))), 2, 2, rng.Below(2) == 0 ? 1 : -1}};
    const GangRequest request = support::MakeGang(*engine, g, tasks, LevelWish{kRack, kRack},
                                                  {LevelWish{0, kRack}, LevelWish{0, 0}});
    const auto outcome = engine->PlaceGang(request, SimTime{});
    answer.reasons.push_back(outcome ? outcome->reason + outcome->domain
                                     : outcome.error().ToString());
    if (g % 3 == 2) (void)engine->ReleaseGang(PodUid{0x6a26, g - 1}, SimTime{});
  }
  answer.decisions = engine->DecisionDigest();
  answer.state = engine->StateDigest();
  answer.steps = engine->work().gang_steps;
  return answer;
}

TEST(GangThreads, TwoThreadsGiveTheAnswerOfOne) {
  int batches = 0;
  for (int seed = 0; seed < support::Scaled(60); ++seed) {
    const Answer alone = Search(static_cast<std::uint64_t>(seed), nullptr);
    SerialExecutor serial;
    ASSERT_EQ(Search(static_cast<std::uint64_t>(seed), &serial), alone);
    for (std::uint64_t order = 0; order < 2; ++order) {
      Perturbed two(order * 1000 + static_cast<std::uint64_t>(seed));
      ASSERT_EQ(Search(static_cast<std::uint64_t>(seed), &two), alone) << "seed " << seed;
      ASSERT_EQ(two.shared(), two.batches());  // both threads ran a part of each
      batches += two.batches();
    }
  }
  std::printf("%d batches of domains were shared by two threads\n", batches);
  EXPECT_GT(batches, support::Scaled(60));
}

}  // namespace
}  // namespace basalt

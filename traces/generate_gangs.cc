// Kind "gangs" of the generator: for gang placement without anyone's data at hand.
#include <array>
#include <span>
#include <vector>

#include "traces/draws.h"
#include "traces/philly.h"

namespace basalt::trace {
namespace {

constexpr std::int32_t kCards = 8;
constexpr std::uint32_t kNodesOfRack = 16;  // when the user does not say
constexpr MilliCpu kCpuOfNode = 64'000, kCpuOfGpu = 4'000;
constexpr MiB kMemoryOfNode = 524'288, kMemoryOfGpu = 32'768;

// The sizes of the jobs of Philly's list (docs/traces.md) and how many have each.
struct Size {
  std::int32_t gpus;
  std::uint32_t count;
};
constexpr std::array<Size, 10> kSizes = {{{1, 76'627},
                                          {2, 1'818},
                                          {4, 1'870},
                                          {8, 1'643},
                                          {12, 7},
                                          {16, 199},
                                          {24, 7},
                                          {32, 67},
                                          {64, 6},
                                          {128, 3}}};

void MakeNodes(const GeneratorOptions& options, std::uint64_t racks, Trace* trace) {
  std::vector<std::uint32_t> rank(options.nodes);
  for (std::uint32_t i = 0; i < options.nodes; ++i) rank[i] = i;
  Rng(options.seed, kRankStream).Shuffle(std::span(rank));
  trace->nodes.reserve(options.nodes);
  for (std::uint32_t i = 0; i < options.nodes; ++i) {
    Node& node = trace->nodes.emplace_back();
    node.id = Numbered("node-", i, 4);
    node.rank = rank[i];
    node.model = "GPU";
    node.gpu_count = kCards;
    node.cpu_milli = kCpuOfNode;
    node.memory_mib = kMemoryOfNode;
    node.rack = Numbered("rack-", i * racks / options.nodes, 3);
  }
}

// Thousandths of the run time: nothing to talk to, inside a node, between nodes.
std::int32_t CommunicationShare(const Task& task, Rng& rng) {
  const std::uint32_t drawn = rng.Next();  // one draw a job, so that sizes do not shift the stream
  const auto within = [drawn](std::uint32_t low, std::uint32_t high) {
    return static_cast<std::int32_t>(low + drawn % (high - low + 1));
  };
  if (task.replicas > 1) return within(50, 400);
  return task.gpu_num > 1 ? within(0, 150) : 0;
}

}  // namespace

Status GenerateGangs(const GeneratorOptions& options, Trace* trace) {
  const std::uint64_t racks =
      options.racks != 0 ? options.racks : (options.nodes + kNodesOfRack - 1) / kNodesOfRack;
  MakeNodes(options, racks, trace);
  const std::int64_t cards = std::int64_t{options.nodes} * kCards;
  std::uint32_t total = 0;
  std::int64_t demand = 0;
  for (const Size& size : kSizes) {
    if (size.gpus > cards) break;
    total += size.count;
    demand += std::int64_t{size.count} * size.gpus * kWholeCard;
  }
  Arrivals arrivals(options, static_cast<double>(demand) / total, cards * kWholeCard);
  Durations durations(options);
  Rng size_rng(options.seed, kClassStream), share_rng(options.seed, kShareStream);
  trace->jobs.reserve(options.pods);
  trace->tasks.reserve(options.pods);
  std::int64_t now = 0;
  for (std::uint32_t i = 0; i < options.pods; ++i) {
    if (!arrivals.Next(&now)) return Arrivals::TooLate();
    std::uint32_t drawn = size_rng.Below(total);
    const Size* size = kSizes.data();
    for (; drawn >= size->count; ++size) drawn -= size->count;
    Task& task = trace->tasks.emplace_back();
    AskForGpus(size->gpus, &task);
    task.cpu_milli = kCpuOfGpu * task.gpu_num;
    task.memory_mib = kMemoryOfGpu * task.gpu_num;
    Job& job = trace->jobs.emplace_back();
    job.id = Numbered("job-", i, 6);
    job.submit_us = now;
    job.duration_us = std::max<std::int64_t>(1, Microseconds(durations.Next()));
    job.comm_milli = CommunicationShare(task, share_rng);
    task.job_id = job.id;
    task.task = "worker";
  }
  trace->manifest.source = "generated: machines of 8 cards in racks, jobs in Philly's sizes";
  trace->manifest.attribution =
      "sizes: Microsoft Philly (Jeon et al., USENIX ATC 2019), aggregate counts only";
  trace->manifest.notes = {std::to_string(racks) +
                           " racks; nodes, CPU, memory and comm_share are made up"};
  return {};
}

}  // namespace basalt::trace

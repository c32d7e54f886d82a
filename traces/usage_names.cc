#include "traces/usage_names.h"

#include <algorithm>
#include <array>

namespace basalt::trace {
namespace {

constexpr std::int64_t kMi = 1 << 20;
using enum UsageScope;

// Sources: HAMi v2.10 and volcano-vgpu-device-plugin (monitor), NVIDIA dcgm-exporter
// default-counters.csv, Ascend mind-cluster npu-exporter, MetaX mx-exporter, Cambricon mlu-exporter
// (examples/metrics.yaml with prefix mlu), Hygon dcu-exporter, Iluvatar ix-exporter, Enflame
// gcu-exporter, AMD device-metrics-exporter.
constexpr auto kNames = std::to_array<UsageName>({
    {"hami_container_device_utilization_ratio", "hami", kGpuUtilPct, kSlice},
    {"hami_vgpu_memory_used_bytes", "hami", kGpuMemMib, kSlice, 1, kMi},
    {"hami_container_device_memory_bytes", "hami", kGpuMemMib, kSlice, 1, kMi},
    {"Device_utilization_desc_of_container", "hami-legacy, volcano", kGpuUtilPct, kSlice},
    {"vGPU_device_memory_usage_in_bytes", "hami-legacy, volcano", kGpuMemMib, kSlice, 1, kMi},
    {"Device_memory_desc_of_container", "hami-legacy, volcano", kGpuMemMib, kSlice, 1, kMi},
    {"vnpu_pod_aicore_utilization", "ascend", kGpuUtilPct, kSlice},
    {"vnpu_pod_used_memory", "ascend", kGpuMemMib, kSlice, 1, 1024},
    {"mx_sgpu_usage", "metax", kGpuUtilPct, kSlice},
    {"mx_sgpu_used_memory", "metax", kGpuMemMib, kSlice, 1, 1024},
    {"vdcu_utilizationrate", "hygon", kGpuUtilPct, kSlice},
    {"vdcu_usedmemory_bytes", "hygon", kGpuMemMib, kSlice, 1, kMi},
    {"container_npu_utilization", "ascend", kGpuUtilPct, kCard},
    {"container_npu_used_memory", "ascend", kGpuMemMib, kCard},
    {"DCGM_FI_DEV_GPU_UTIL", "nvidia", kGpuUtilPct, kCard},
    {"DCGM_FI_PROF_GR_ENGINE_ACTIVE", "nvidia", kGpuUtilPct, kCard, 100, 1},
    {"DCGM_FI_PROF_SM_ACTIVE", "nvidia", kSmActivePct, kCard, 100, 1},
    {"DCGM_FI_DEV_FB_USED", "nvidia", kGpuMemMib, kCard},
    {"hami_host_gpu_utilization_ratio", "hami", kGpuUtilPct, kCard},
    {"hami_host_gpu_memory_used_bytes", "hami", kGpuMemMib, kCard, 1, kMi},
    {"HostCoreUtilization", "hami-legacy, volcano", kGpuUtilPct, kCard},
    {"HostGPUMemoryUsage", "hami-legacy, volcano", kGpuMemMib, kCard, 1, kMi},
    {"npu_chip_info_utilization", "ascend", kGpuUtilPct, kCard},
    {"npu_chip_info_overall_utilization", "ascend", kGpuUtilPct, kCard},
    {"npu_chip_info_hbm_used_memory", "ascend", kGpuMemMib, kCard},
    {"npu_chip_info_used_memory", "ascend", kGpuMemMib, kCard},
    {"mx_gpu_usage", "metax", kGpuUtilPct, kCard},
    {"mx_memory_used", "metax", kGpuMemMib, kCard, 1, 1024, "type", "vram"},
    {"mlu_utilization", "cambricon", kGpuUtilPct, kCard},
    {"mlu_memory_used", "cambricon", kGpuMemMib, kCard, 1, kMi},
    {"dcu_utilizationrate", "hygon", kGpuUtilPct, kCard},
    {"dcu_usedmemory_bytes", "hygon", kGpuMemMib, kCard, 1, kMi},
    {"ix_gpu_utilization", "iluvatar", kGpuUtilPct, kCard},
    {"ix_mem_used", "iluvatar", kGpuMemMib, kCard},
    {"enflame_gcu_usage", "enflame", kGpuUtilPct, kCard},
    {"enflame_gcu_memory_used_bytes", "enflame", kGpuMemMib, kCard, 1, kMi},
    {"gpu_gfx_activity", "amd", kGpuUtilPct, kCard},
    {"gpu_used_vram", "amd", kGpuMemMib, kCard},
});

constexpr auto kNamespace = std::to_array<std::string_view>(
    {"exported_namespace", "podnamespace", "pod_namespace", "dcu_pod_namespace", "namespace"});
constexpr auto kPod =
    std::to_array<std::string_view>({"exported_pod", "podname", "pod_name", "dcu_pod_name", "pod"});
constexpr auto kContainer = std::to_array<std::string_view>(
    {"exported_container", "ctrname", "container_name", "container"});
constexpr auto kNode =
    std::to_array<std::string_view>({"exported_node", "node", "nodeid", "nodename", "NodeName",
                                     "Hostname", "hostname", "node_name", "host"});
constexpr auto kUuid = std::to_array<std::string_view>(
    {"device_uuid", "deviceuuid", "UUID", "uuid", "vdie_id", "device_id", "serial_number"});
constexpr auto kIndex = std::to_array<std::string_view>(
    {"device_index", "deviceidx", "gpu", "mlu", "minor_number", "deviceId", "gpu_id", "id"});

}  // namespace

std::span<const UsageName> UsageNames() { return kNames; }

int FindUsageName(std::string_view exported) {
  const auto found = std::ranges::find(kNames, exported, &UsageName::name);
  return found == kNames.end() ? -1 : static_cast<int>(found - kNames.begin());
}

std::span<const std::string_view> UsageLabels(UsageLabel label) {
  switch (label) {
    case UsageLabel::kNamespace:
      return kNamespace;
    case UsageLabel::kPod:
      return kPod;
    case UsageLabel::kContainer:
      return kContainer;
    case UsageLabel::kNode:
      return kNode;
    case UsageLabel::kUuid:
      return kUuid;
    case UsageLabel::kIndex:
      return kIndex;
  }
  return {};
}

}  // namespace basalt::trace

// ResourceSlices in NVIDIA's form, for tests: our own, in the format of resource.k8s.io/v1.
#pragma once

#include <string>

namespace basalt::support {

inline std::string GpuDevice(int index, const std::string& product, const std::string& memory,
                             const std::string& more = "") {
  const std::string i = std::to_string(index);
  return R"({"name":"gpu-)" + i +
         R"(","attributes":{"type":{"string":"gpu"},"uuid":{"string":"GPU-)" + i +
         R"("},"productName":{"string":")" + product +
         R"("},"driverVersion":{"version":"570.133.20"}},"capacity":{"memory":{"value":")" +
         memory + R"("}})" + more + '}';
}

inline std::string SliceSpec(const std::string& devices,
                             const std::string& driver = "gpu.nvidia.com") {
  return R"({"driver":")" + driver +
         R"(","nodeName":"n1","pool":{"name":"n1","generation":1,"resourceSliceCount":1},"devices":[)" +
         devices + "]}";
}

inline std::string MemorySlices(int from, int count) {
  std::string out;
  for (int i = from; i < from + count; ++i) {
    out +=
        (out.empty() ? "" : ",") + ("\"memory-slice-" + std::to_string(i) + R"(":{"value":"1"})");
  }
  return out;
}

// What a device takes of its card's counters.
inline std::string Consumes(int card, int from, int count) {
  return R"(,"consumesCounters":[{"counterSet":"gpu-)" + std::to_string(card) +
         R"(-counter-set","counters":{)" + MemorySlices(from, count) + "}}]";
}

inline std::string MigDevice(int card, const std::string& profile, int from, int count,
                             const std::string& type = "mig") {
  const std::string c = std::to_string(card);
  std::string name = profile;
  for (char& letter : name) letter = letter == '.' || letter == '+' ? '-' : letter;
  return R"({"name":"gpu-)" + c + "-mig-" + name + '-' + std::to_string(from) +
         R"(","attributes":{"type":{"string":")" + type + R"("},"profile":{"string":")" + profile +
         R"("},"parentUUID":{"string":"GPU-)" + c + R"("}})" + Consumes(card, from, count) + '}';
}

// An A100 of 80 GB that may be cut: itself, seven 1g.10gb and two 3g.40gb.
inline std::string CutCard(int card) {
  std::string out = GpuDevice(card, "NVIDIA A100-SXM4-80GB", "80Gi", Consumes(card, 0, 8));
  for (int i = 0; i < 7; ++i) out += ',' + MigDevice(card, "1g.10gb", i, 1);
  return out + ',' + MigDevice(card, "3g.40gb", 0, 4) + ',' + MigDevice(card, "3g.40gb", 4, 4);
}

}  // namespace basalt::support

// Prometheus' formats and the table of names.
#include "traces/usage_prometheus.h"

#include <gtest/gtest.h>

#include <set>

#include "traces/trace.h"
#include "traces/usage_names.h"

namespace basalt::trace {
namespace {

UsageFile Good(std::string_view text) {
  Diagnostics d;
  UsageFile file = ParsePrometheus("f", text, &d);
  EXPECT_TRUE(d.ok()) << d.ToString();
  return file;
}
std::string Bad(std::string_view text) {
  Diagnostics d;
  ParsePrometheus("f", text, &d);
  EXPECT_EQ(d.total, 1U) << d.ToString();
  return d.ToString();
}

// One series of each row of the table, with the labels that its exporter writes.
TEST(UsageNames, EachVendorsSeriesBecomesCanonical) {
  struct Case {
    const char* line;
    double value;
    const char *pod, *node, *uuid, *index;
  };
  const Case cases[] = {
      {R"(hami_container_device_utilization_ratio{namespace="d",pod="p",container="c",vdevice_index="0",device_uuid="GPU-1",zone="vGPU"} 37)",
       37, "p", "", "GPU-1", ""},
      {R"(hami_vgpu_memory_used_bytes{namespace="d",pod="p",container="c",vdevice_index="0",device_uuid="GPU-1"} 2.147483648e+09)",
       2048, "p", "", "GPU-1", ""},
      {R"(vGPU_device_memory_usage_in_bytes{podnamespace="d",podname="p",ctrname="c",vdeviceid="0",deviceuuid="GPU-1"} 1048576)",
       1, "p", "", "GPU-1", ""},
      {R"(Device_utilization_desc_of_container{podnamespace="d",podname="p",ctrname="c",deviceuuid="GPU-1"} 12.5)",
       12.5, "p", "", "GPU-1", ""},
      {R"(hami_host_gpu_utilization_ratio{node="n",device_index="2",device_uuid="GPU-1",device_type="NVIDIA-A100"} 99)",
       99, "", "n", "GPU-1", "2"},
      {R"(HostGPUMemoryUsage{nodeid="n",deviceidx="2",deviceuuid="GPU-1"} 1073741824)", 1024, "",
       "n", "GPU-1", "2"},
      {R"(DCGM_FI_DEV_FB_USED{gpu="3",UUID="GPU-1",device="nvidia3",modelName="NVIDIA A100",Hostname="n",container="c",namespace="d",pod="p"} 513)",
       513, "p", "n", "GPU-1", "3"},
      {R"(DCGM_FI_PROF_SM_ACTIVE{gpu="3",UUID="GPU-1",Hostname="n"} 0.25)", 25, "", "n", "GPU-1",
       "3"},
      {R"(DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="3",UUID="GPU-1",Hostname="n",GPU_I_PROFILE="1g.5gb",GPU_I_ID="7"} 0.5)",
       50, "", "n", "GPU-1/mig7", "3/mig7"},
      {R"(npu_chip_info_hbm_used_memory{id="5",model_name="910B3",vdie_id="V-1",pcie_bus_info="0000"} 3000)",
       3000, "", "", "V-1", "5"},
      {R"(container_npu_utilization{id="5",namespace="exp",exported_namespace="d",pod="npu-exporter-1",pod_name="p",container_name="c",vdie_id="V-1"} 60)",
       60, "p", "", "V-1", "5"},
      {R"(mx_memory_used{deviceId="1",uuid="MX-1",Hostname="n",type="vram",exported_pod="p",exported_namespace="d"} 2048)",
       2, "p", "n", "MX-1", "1"},
      {R"(mlu_memory_used{mlu="1",uuid="MLU-1",node="n"} 4194304)", 4, "", "n", "MLU-1", "1"},
      {R"(dcu_utilizationrate{device_id="T8R",minor_number="0",node="n",dcu_pod_name="p",dcu_pod_namespace="d",container="c"} 8)",
       8, "p", "n", "T8R", "0"},
      {R"(ix_mem_used{container="c",gpu="0",name="Iluvatar BI-V100",namespace="d",node_name="n",pod="p",uuid="GPU-4a"} 257)",
       257, "p", "n", "GPU-4a", "0"},
      {R"(enflame_gcu_memory_used_bytes{host="n",minor_number="2",uuid="T10",pod_name="p",pod_namespace="d"} 1048576)",
       1, "p", "n", "T10", "2"},
      {R"(gpu_gfx_activity{gpu_id="0",serial_number="S",hostname="n",pod="p",namespace="d"} 77)",
       77, "p", "n", "S", "0"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.line);
    const UsageFile file = Good(std::string(c.line) + "\n");
    ASSERT_EQ(file.series.size(), 1U);
    const UsageSeries& s = file.series[0];
    EXPECT_EQ(s.points,
              (std::vector<UsagePoint>{{kUnknownTime, static_cast<std::int64_t>(c.value * 1e6)}}));
    EXPECT_EQ(s.pod, c.pod);
    EXPECT_EQ(s.name_space, *c.pod != 0 ? "d" : "");
    EXPECT_EQ(s.node, c.node);
    EXPECT_EQ(s.uuid, c.uuid);
    EXPECT_EQ(s.index, c.index);
  }
  std::set<std::string_view> names;
  for (const UsageName& n : UsageNames()) EXPECT_TRUE(names.insert(n.name).second) << n.name;
}

TEST(PrometheusText, FormatsTimesAndUnknownNames) {
  const UsageFile file = Good(
      "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\r\n# TYPE x gauge\n\n"
      "DCGM_FI_DEV_GPU_UTIL { gpu = \"0\" , Hostname=\"a\\\"b\\\\c\\nd\", } 5 1700000000123\n"
      "up 1\nup{x=\"y\"} 0\ngo_gc{quantile=\"0\"} NaN\n"
      "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} NaN\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} -1\n"
      "DCGM_FI_DEV_FB_USED{gpu=\"1\"} 2147483632\nmx_memory_used{type=\"xtt\"} 5\n"
      "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} +Inf");
  ASSERT_EQ(file.series.size(), 1U);
  EXPECT_EQ(file.series[0].node, "a\"b\\c\nd");
  EXPECT_EQ(file.series[0].points[0].time_us, 1'700'000'000'123'000);
  EXPECT_EQ(file.unknown.at("up"), 2U);
  EXPECT_EQ(file.unknown.at("go_gc"), 1U);
  EXPECT_EQ(file.not_measured, 4U);
  const UsageFile open =
      Good("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 5 1700000000.5 # {id=\"x\"} 1\n# EOF\n");
  EXPECT_EQ(open.series[0].points[0].time_us, 1'700'000'000'500'000);
}

TEST(PrometheusText, ErrorsHaveTheirPlace) {
  EXPECT_EQ(Bad("up 1\nx{a=\"b\" 1\n"), "f:2:9: expected , or } behind a label");
  EXPECT_EQ(Bad("x{a=b} 1\n"), "f:1:5: expected \" before the value of a label");
  EXPECT_EQ(Bad("x{a=\"b} 1\n"), "f:1:10: the value of a label has no closing \"");
  EXPECT_EQ(Bad("x{a=\"\\q\"} 1\n"),
            "f:1:7: only \\\\, \\\" and \\n may stand in the value of a label");
  EXPECT_EQ(Bad("x{a=\"1\",a=\"2\"} 1\n"), "f:1:14: label a stands twice");
  EXPECT_EQ(Bad("x\n"), "f:1:2: the value is missing");
  EXPECT_EQ(Bad("x 1,5\n"), "f:1:3: the value \"1,5\" is not a number");
  EXPECT_EQ(Bad("x 1 soon\n"), "f:1:5: the timestamp \"soon\" is not a number in range");
  EXPECT_EQ(Bad("x 1 2 3\n"), "f:1:7: nothing may stand behind the timestamp");
  EXPECT_EQ(Bad("9x 1\n"), "f:1:1: expected the name of a metric");
}

TEST(PrometheusJson, MatrixAndVector) {
  const UsageFile matrix = Good(R"({"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","gpu":"0","Hostname":"n"},
     "values":[[1700000000,"5"],[1700000015.5,"NaN"],[1700000030,"7.25"]]},
    {"metric":{"instance":"x"},"values":[[1,"1"],[2,"2"]]}]}})");
  ASSERT_EQ(matrix.series.size(), 1U);
  EXPECT_EQ(matrix.series[0].points, (std::vector<UsagePoint>{{1'700'000'000'000'000, 5'000'000},
                                                              {1'700'000'030'000'000, 7'250'000}}));
  EXPECT_EQ(matrix.unknown.at("(no name)"), 2U);
  EXPECT_EQ(matrix.not_measured, 1U);
  const UsageFile vector = Good(R"({"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"__name__":"ix_gpu_utilization","gpu":"0"},"value":[3,"5"]}]}})");
  EXPECT_EQ(vector.series[0].points, (std::vector<UsagePoint>{{3'000'000, 5'000'000}}));
}

TEST(PrometheusJson, Errors) {
  EXPECT_EQ(Bad("{\"status\":\n\"success\",\n").substr(0, 4), "f:3:");
  EXPECT_NE(
      Bad(R"({"status":"error","errorType":"bad_data","error":"parse error"})").find("parse error"),
      std::string::npos);
  EXPECT_NE(Bad("{}").find("resultType"), std::string::npos);
  EXPECT_NE(Bad(R"({"data":{"resultType":"scalar","result":[1,"2"]}})").find("matrix"),
            std::string::npos);
  const auto matrix = [](const char* values) {
    return std::string(R"({"data":{"resultType":"matrix","result":[{"metric":{"__name__":)") +
           R"("DCGM_FI_DEV_GPU_UTIL"},"values":)" + values + "}]}}";
  };
  EXPECT_EQ(Bad(matrix("[[1,\"1\"],[1,\"2\"]]")),
            "f: data.result[0].values[1]: is not later than the one before it");
  EXPECT_EQ(Bad(matrix("[[1,\"x\"]]")),
            "f: data.result[0].values[0]: has the value \"x\", not a number");
  EXPECT_EQ(Bad(matrix("[[1,2]]")), "f: data.result[0].values[0]: must be [seconds, \"value\"]");
  EXPECT_EQ(Bad(matrix("[[1e300,\"2\"]]")), "f: data.result[0].values[0]: has a time out of range");
  EXPECT_EQ(Bad(matrix("7")).substr(0, 17), "f: data.result[0]");
  EXPECT_EQ(Bad("{\"a\":" + std::string(100'000, '[')).substr(0, 1), "f");
}

}  // namespace
}  // namespace basalt::trace

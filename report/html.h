// The HTML report: one self-contained page that carries its data.
//
// Invariant: nothing in the report's text can change the page. The JSON travels as gzip in base64,
// whose alphabet holds no character that HTML knows, and the page's script only ever shows it as
// text. docs/report.md is the contract of the JSON. The same input gives the same bytes.
#ifndef BASALT_REPORT_HTML_H_
#define BASALT_REPORT_HTML_H_

#include <string>
#include <string_view>

namespace basalt::report {

// The page without data, as web/ builds it (web/dist/report.html.tmpl, embedded by
// report/embed.cmake).
std::string_view ReportPageTemplate();

// The page with `report_json`, a JSON text in UTF-8 of schema basalt.report/1. The JSON is packed,
// not checked: what is wrong with it is said by the page when it is opened.
std::string RenderHtml(std::string_view report_json);

}  // namespace basalt::report

#endif  // BASALT_REPORT_HTML_H_

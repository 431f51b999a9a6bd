// Levels of zerodte-flow as lines of a Sierra Chart. Read again every so many seconds.
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

// The table that /v1/levels answers with format=csv. This part needs nothing of Sierra Chart.
struct FlowLevel
{
    std::string key, name;
    bool there;  // False: the sample has no such level.
    double price;
    bool doubted;
};

struct FlowTable
{
    std::vector<FlowLevel> levels;
    std::string age_seconds;
    bool simulated;
};

inline std::vector<std::string> FlowSplit(const std::string& text, char separator)
{
    std::vector<std::string> pieces(1);
    for (char letter : text)
    {
        if (letter == separator)
            pieces.push_back("");
        else if (letter != '\r')
            pieces.back() += letter;
    }
    return pieces;
}

// An answer that is no such table, such as an error, gives no level.
inline FlowTable ReadFlowTable(const std::string& text)
{
    FlowTable table = {{}, "", false};
    std::vector<std::string> lines = FlowSplit(text, '\n');
    std::vector<std::string> header = FlowSplit(lines[0], ',');
    std::map<std::string, size_t> columns;
    for (size_t column = 0; column < header.size(); column++)
        columns[header[column]] = column;
    for (const char* name : {"key", "name", "price", "doubts", "age_seconds", "simulated"})
        if (columns.count(name) == 0)
            return table;
    for (size_t row = 1; row < lines.size(); row++)
    {
        std::vector<std::string> cells = FlowSplit(lines[row], ',');
        if (cells.size() != header.size())
            continue;
        const std::string& price = cells[columns["price"]];
        table.levels.push_back({cells[columns["key"]], cells[columns["name"]], !price.empty(),
            std::atof(price.c_str()), !cells[columns["doubts"]].empty()});
        table.age_seconds = cells[columns["age_seconds"]];
        table.simulated = cells[columns["simulated"]] == "true";
    }
    return table;
}

#ifndef WITHOUT_SIERRA
#include "sierrachart.h"

SCDLLName("zerodte-flow levels")

static COLORREF FlowColour(const std::string& key)
{
    if (key == "call_wall") return RGB(30, 144, 255);
    if (key == "put_wall") return RGB(255, 140, 0);
    if (key == "gamma_flip") return RGB(230, 190, 0);
    if (key == "magnet") return RGB(147, 112, 219);
    return RGB(128, 128, 128);
}

static void FlowLine(SCStudyInterfaceRef sc, int number, const FlowLevel& level, const std::string& state)
{
    s_UseTool tool;
    tool.Clear();
    tool.ChartNumber = sc.ChartNumber;
    tool.DrawingType = DRAWING_HORIZONTALLINE;
    tool.LineNumber = number;
    tool.BeginValue = (float)level.price;
    tool.Color = FlowColour(level.key);
    tool.LineStyle = LINESTYLE_DASH;
    tool.Text = (level.name + (level.doubted ? " (?)" : "") + state).c_str();
    tool.DisplayHorizontalLineValue = 1;
    tool.AddMethod = UTAM_ADD_OR_ADJUST;
    sc.UseTool(tool);
}

SCSFExport scsf_FlowLevels(SCStudyInterfaceRef sc)
{
    SCInputRef Address = sc.Input[0];
    SCInputRef Seconds = sc.Input[1];
    const int FirstLine = 88410;
    const int Most = 40;

    if (sc.SetDefaults)
    {
        sc.GraphName = "zerodte-flow levels";
        sc.GraphRegion = 0;
        sc.AutoLoop = 0;
        sc.UpdateAlways = 1;
        Address.Name = "Address; add &apiKey= with a key of the plan Levels";
        Address.SetString("http://127.0.0.1:8000/v1/levels/SPX?format=csv&to=ES&basis=0");
        Seconds.Name = "Seconds between two requests";
        Seconds.SetInt(30);
        Seconds.SetIntLimits(10, 3600);
        return;
    }

    SCDateTime& LastRequest = sc.GetPersistentSCDateTime(1);
    int& IsWaiting = sc.GetPersistentInt(1);

    if (IsWaiting && sc.HTTPResponse != "")
    {
        IsWaiting = 0;
        FlowTable table = ReadFlowTable(sc.HTTPResponse.GetChars());
        if (table.levels.empty())
            sc.AddMessageToLog("zerodte-flow: the answer is no table of levels", 1);
        // Lines of levels that are gone go too, all of them where the answer is no table.
        for (int number = 0; number < Most; number++)
            if (number >= (int)table.levels.size() || !table.levels[number].there)
                sc.DeleteACSChartDrawing(sc.ChartNumber, TOOL_DELETE_CHARTDRAWING, FirstLine + number);
        std::string state = ", " + table.age_seconds + " s old" + (table.simulated ? ", SIMULATED" : "");
        for (int number = 0; number < (int)table.levels.size() && number < Most; number++)
            if (table.levels[number].there && table.levels[number].key != "spot")
                FlowLine(sc, FirstLine + number, table.levels[number], state);
    }

    SCDateTime now = sc.CurrentSystemDateTime;
    if ((now - LastRequest).GetAsDouble() * 86400.0 < Seconds.GetInt())
        return;
    LastRequest = now;
    IsWaiting = sc.MakeHTTPRequest(Address.GetString()) ? 1 : 0;
}
#endif

// Levels of zerodte-flow as lines of a NinjaTrader 8 chart. Read again every Seconds.
#region Using declarations
using System;
using System.Collections.Generic;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Net.Http;
using System.Threading.Tasks;
using System.Windows.Media;
using NinjaTrader.NinjaScript.DrawingTools;
#endregion

namespace NinjaTrader.NinjaScript.Indicators
{
    public class FlowLevelsNinjaTrader : Indicator
    {
        private static readonly HttpClient Client = new HttpClient { Timeout = TimeSpan.FromSeconds(10) };
        private DateTime asked = DateTime.MinValue;
        private readonly HashSet<string> drawn = new HashSet<string>();

        protected override void OnStateChange()
        {
            if (State == State.SetDefaults)
            {
                Name = "FlowLevelsNinjaTrader";
                Description = "Call wall, put wall, gamma flip, magnet and the rest, from zerodte-flow";
                Calculate = Calculate.OnPriceChange;
                IsOverlay = true;
                Address = "http://127.0.0.1:8000/v1/levels/SPX?format=csv&to=ES&basis=0";
                Key = "";
                Seconds = 30;
            }
        }

        protected override void OnBarUpdate()
        {
            if (State != State.Realtime || (DateTime.UtcNow - asked).TotalSeconds < Math.Max(Seconds, 10))
                return;
            asked = DateTime.UtcNow;
            Task.Run(async () =>
            {
                string text;
                try
                {
                    using (var request = new HttpRequestMessage(HttpMethod.Get, Address))
                    {
                        if (Key != "")
                            request.Headers.Add("X-Api-Key", Key);
                        using (HttpResponseMessage response = await Client.SendAsync(request))
                        {
                            text = await response.Content.ReadAsStringAsync();
                            if (!response.IsSuccessStatusCode)
                                text = "error " + (int)response.StatusCode + ": " + text;
                        }
                    }
                }
                catch (Exception error)
                {
                    text = "error: " + error.Message;
                }
                // Lines may be drawn on the chart's own thread only.
                TriggerCustomEvent(_ => Show(text), null);
            });
        }

        private void Show(string text)
        {
            string[] lines = text.Split('\n');
            var columns = new List<string>(lines[0].Split(','));
            int key = columns.IndexOf("key"), name = columns.IndexOf("name"), price = columns.IndexOf("price");
            int doubts = columns.IndexOf("doubts"), age = columns.IndexOf("age_seconds");
            int simulated = columns.IndexOf("simulated");
            if (key < 0 || name < 0 || price < 0 || doubts < 0 || age < 0 || simulated < 0)
            {
                // Old lines go: nobody would see that they are old.
                foreach (string tag in drawn)
                    RemoveDrawObject(tag);
                drawn.Clear();
                Draw.TextFixed(this, "flow_state", "Flow levels: " + text, TextPosition.TopRight);
                return;
            }
            string state = "";
            for (int row = 1; row < lines.Length; row++)
            {
                string[] cells = lines[row].Split(',');
                if (cells.Length != columns.Count)
                    continue;
                state = "Flow levels, " + cells[age] + " s old" + (cells[simulated] == "true" ? ", SIMULATED MARKET" : "");
                string tag = "flow_" + cells[key];
                double level;
                if (cells[key] == "spot")
                    continue;
                if (!double.TryParse(cells[price], NumberStyles.Float, CultureInfo.InvariantCulture, out level))
                {
                    RemoveDrawObject(tag);
                    RemoveDrawObject(tag + "_name");
                    continue;
                }
                Brush brush = BrushOf(cells[key]);
                Draw.HorizontalLine(this, tag, level, brush);
                Draw.Text(this, tag + "_name", cells[name] + (cells[doubts] == "" ? "" : " (?)"), 0, level, brush);
                drawn.Add(tag);
                drawn.Add(tag + "_name");
            }
            Draw.TextFixed(this, "flow_state", state, TextPosition.TopRight);
        }

        private static Brush BrushOf(string key)
        {
            switch (key)
            {
                case "call_wall": return Brushes.DodgerBlue;
                case "put_wall": return Brushes.DarkOrange;
                case "gamma_flip": return Brushes.Gold;
                case "magnet": return Brushes.MediumPurple;
                default: return Brushes.Gray;
            }
        }

        [NinjaScriptProperty]
        [Display(Name = "Address", Order = 1, GroupName = "Parameters")]
        public string Address { get; set; }

        [NinjaScriptProperty]
        [Display(Name = "Key of the plan Levels; empty for an open server", Order = 2, GroupName = "Parameters")]
        public string Key { get; set; }

        [NinjaScriptProperty]
        [Range(10, 3600)]
        [Display(Name = "Seconds between two requests", Order = 3, GroupName = "Parameters")]
        public int Seconds { get; set; }
    }
}

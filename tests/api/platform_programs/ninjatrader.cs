// What FlowLevelsNinjaTrader.cs needs of NinjaTrader, as far as it can be written without it: lines, texts and removals are
// printed. The program's argument is an address; the chart has one bar, in real time.
using System;
using System.Globalization;
using System.Threading;

namespace System.Windows.Media
{
    public class Brush { }

    public static class Brushes
    {
        public static readonly Brush DodgerBlue = new Brush(), DarkOrange = new Brush(), Gold = new Brush();
        public static readonly Brush MediumPurple = new Brush(), Gray = new Brush();
    }
}

namespace System.ComponentModel.DataAnnotations
{
    public class DisplayAttribute : Attribute
    {
        public string Name { get; set; }
        public int Order { get; set; }
        public string GroupName { get; set; }
    }

    public class RangeAttribute : Attribute
    {
        public RangeAttribute(int least, int most) { }
    }
}

namespace NinjaTrader.NinjaScript
{
    public enum State { SetDefaults, Realtime }
    public enum Calculate { OnPriceChange }
    public class NinjaScriptPropertyAttribute : Attribute { }
}

namespace NinjaTrader.NinjaScript.DrawingTools
{
    using System.Windows.Media;

    public enum TextPosition { TopRight }

    public static class Draw
    {
        public static void HorizontalLine(object owner, string tag, double price, Brush brush)
        {
            Console.WriteLine("line|" + tag + "|" + price.ToString(CultureInfo.InvariantCulture));
        }

        public static void Text(object owner, string tag, string text, int barsAgo, double price, Brush brush)
        {
            Console.WriteLine("text|" + tag + "|" + text);
        }

        public static void TextFixed(object owner, string tag, string text, TextPosition position)
        {
            Console.WriteLine("corner|" + text);
            Chart.Drawn.Set();
        }
    }

    public static class Chart
    {
        public static readonly ManualResetEvent Drawn = new ManualResetEvent(false);
    }
}

namespace NinjaTrader.NinjaScript.Indicators
{
    public class Indicator
    {
        public State State;
        public Calculate Calculate;
        public string Name, Description;
        public bool IsOverlay;

        protected virtual void OnStateChange() { }
        protected virtual void OnBarUpdate() { }

        public void TriggerCustomEvent(Action<object> action, object state) { action(state); }
        public void RemoveDrawObject(string tag) { Console.WriteLine("removed|" + tag); }

        public void Become(State state)
        {
            State = state;
            OnStateChange();
        }

        public void Update() { OnBarUpdate(); }
    }
}

public static class Program
{
    public static void Main(string[] words)
    {
        var indicator = new NinjaTrader.NinjaScript.Indicators.FlowLevelsNinjaTrader();
        indicator.Become(NinjaTrader.NinjaScript.State.SetDefaults);
        indicator.Address = words[0];
        indicator.Become(NinjaTrader.NinjaScript.State.Realtime);
        indicator.Update();
        if (!NinjaTrader.NinjaScript.DrawingTools.Chart.Drawn.WaitOne(20000))
            Console.WriteLine("nothing was drawn");
    }
}

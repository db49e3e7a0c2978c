// The state timeline's bands. Grafana does not publish its component, so they are drawn here.
import { dateTimeFormat, formattedValueToString } from "@grafana/data";
import { useTheme2 } from "@grafana/ui";
import { END, START } from "./clock.js";

const TICK = 600_000;

function stretches(field, times) {
  const found = [];
  const step = times[1] - times[0];
  field.values.forEach((value, index) => {
    const last = found.at(-1);
    if (value === null) return;
    if (last && last.value === value && last.until === times[index]) last.until += step;
    else found.push({ value, from: times[index], until: times[index] + step });
  });
  return found;
}

export function Bands({ frames, width, height }) {
  const theme = useTheme2();
  const rows = frames;
  const ticks = Array.from({ length: 6 }, (_, index) => (Math.ceil(START / TICK) + index) * TICK);
  const longest = Math.max(...rows.map((frame) => frame.fields[1].config.displayNameFromDS.length));
  const left = 10 + 7 * longest;
  const bottom = 44;
  const tall = (height - bottom) / rows.length;
  const x = (at) => left + ((Math.min(at, END) - START) / (END - START)) * (width - left - 4);
  const kinds = new Map();
  const bands = rows.flatMap((frame, row) => {
    const field = frame.fields[1];
    return stretches(field, frame.fields[0].values).map(({ value, from, until }) => {
      const shown = field.display(value);
      const text = formattedValueToString(shown);
      kinds.set(text, shown.color);
      const wide = x(until) - x(from);
      const box = { x: x(from), y: row * tall + tall * 0.1, width: Math.max(wide, 1), height: tall * 0.8 };
      return (
        <g key={`${row} ${from}`}>
          <rect {...box} fill={shown.color} fillOpacity={0.9} />
          {wide > 10 * text.length && tall > 14 && (
            <text x={box.x + 5} y={box.y + box.height / 2} dominantBaseline="central" fill="#fff" fontSize={12}>
              {text}
            </text>
          )}
        </g>
      );
    });
  });
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily}>
      {rows.map((frame, row) => (
        <text
          key={row}
          x={left - 6}
          y={row * tall + tall / 2}
          textAnchor="end"
          dominantBaseline="central"
          fontSize={Math.min(12, tall)}
          fill={theme.colors.text.primary}
        >
          {frame.fields[1].config.displayNameFromDS}
        </text>
      ))}
      {bands}
      {ticks.map((at) => (
        <text key={at} x={x(at)} y={height - 28} textAnchor="middle" fontSize={12} fill={theme.colors.text.primary}>
          {dateTimeFormat(at, { format: "HH:mm", timeZone: "utc" })}
        </text>
      ))}
      {[...kinds].map(([text, color], index) => (
        <g key={text} transform={`translate(${left + index * 110} ${height - 8})`}>
          <rect width={14} height={4} y={-6} fill={color} />
          <text x={20} fontSize={12} fill={theme.colors.text.primary}>
            {text}
          </text>
        </g>
      ))}
    </svg>
  );
}

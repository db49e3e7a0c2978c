// The page lives at the end of the story's hour, so that times of day are today's. Import it before all else.
export const parameters = new URLSearchParams(location.search);
export const END = Number(parameters.get("end")) * 1000;
export const START = END - 3_600_000;

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [END]));
  }
  static now() {
    return END;
  }
};

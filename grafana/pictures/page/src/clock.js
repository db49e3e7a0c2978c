// Sets the page's clock to the end of the story's hour, so that its times count as today's. Import it first.
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

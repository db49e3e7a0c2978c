// Stands for the code editor that no dashboard draws.
export default () => null;
export const loader = {};
export const monaco = {};

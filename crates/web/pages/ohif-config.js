// How OHIF finds this vault. Served by Leadglass in place of OHIF's own file of this name; __CONSOLE_PORT__ is the port of the
// page where people sign in.

// A part of OHIF asks for this name of Node's when it is loaded late, and falls over it where there is none.
window.__filename ??= "/";

window.config = (() => {
  const root = `${location.origin}/dicomweb`;
  const console = `https://${location.hostname}:__CONSOLE_PORT__/`;
  const leave = () => location.replace(console);

  // The screen is cleared once the session is over, and the session goes on while somebody works.
  const look = async (used) => {
    try {
      const answer = await fetch(used ? "/api/v1/session?used" : "/api/v1/session", { cache: "no-store" });
      if (answer.status === 204 || (answer.ok && (await answer.json()).locked)) leave();
    } catch {
      // The vault is away; it will be asked again.
    }
  };
  let told = performance.now();
  const used = () => {
    if (performance.now() - told < 120000) return;
    told = performance.now();
    look(true);
  };
  for (const event of ["pointerdown", "keydown", "wheel"]) addEventListener(event, used, { passive: true, capture: true });
  setInterval(() => look(false), 60000);
  look(false);

  return {
    routerBasename: "/",
    extensions: [],
    modes: [],
    // Nothing pops up over an image.
    customizationService: [{ "ohif.tours": { $set: [] } }],
    investigationalUseDialog: { option: "never" },
    showStudyList: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    groupEnabledModesFirst: true,
    showErrorDetails: "production",
    maxNumRequests: { interaction: 100, thumbnail: 20, prefetch: 25 },
    defaultDataSourceName: "leadglass",
    httpErrorHandler: (error) => {
      if (error.status === 401) leave();
    },
    dataSources: [{
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "leadglass",
      configuration: {
        friendlyName: "Leadglass",
        name: "leadglass",
        qidoRoot: root,
        wadoRoot: root,
        wadoUriRoot: root,
        qidoSupportsIncludeField: true,
        supportsReject: false,
        supportsStow: false,
        dicomUploadEnabled: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        enableStudyLazyLoad: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    }],
  };
})();
